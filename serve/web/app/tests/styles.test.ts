/** The styles of a page stay when the page is left, so that a class means one thing in the whole app. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const SOURCE = join(import.meta.dirname, "../src");
/** A class that a rule of these styles begins with, outside of `theme` and of what adds to a class of it. */
const CLASS = /^ *\.([a-z][a-z-]*)(?:[ ,.:[{>]|$)/gm;

function classesOf(file: string): Set<string> {
  const text = readFileSync(join(SOURCE, file), "utf-8");
  return new Set(Array.from(text.matchAll(CLASS), ([, name]) => name ?? ""));
}

test("no class is styled by two pages", () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: "utf-8" }).filter((file) => file.endsWith(".css"));
  const shared = new Set(files.filter((file) => file.startsWith("theme")).flatMap((file) => [...classesOf(file)]));
  const owners = new Map<string, string[]>();
  for (const file of files.filter((each) => !each.startsWith("theme"))) {
    for (const name of classesOf(file)) {
      if (!shared.has(name)) owners.set(name, [...(owners.get(name) ?? []), file]);
    }
  }
  expect(owners.size).toBeGreaterThan(50);
  expect([...owners].filter(([, found]) => found.length > 1)).toEqual([]);
});
