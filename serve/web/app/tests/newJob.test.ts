import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { expect, it } from "vitest";
import { draftOf, settled, withSettings, type Draft } from "../src/config/draft";
import { NewJobViews } from "../src/pages/new/NewJobViews";

it("keeps the form, which may be uploading, behind the text", () => {
  const shown = (isText: boolean) =>
    renderToStaticMarkup(createElement(NewJobViews, { isText, form: "the upload", text: "the config" }));
  expect(shown(false)).toContain("<div>the upload</div>");
  expect(shown(false)).not.toContain("the config");
  expect(shown(true)).toMatch(/<div hidden="">the upload<\/div>the config/);
});

it("adds a dataset that arrives while the text cannot be read, as soon as it can", () => {
  const add = (draft: Draft) => withSettings(draft, { dataset: "ds-1" });
  const broken = settled({ draft: draftOf("training: ["), waiting: [add] });
  expect(broken.draft.text).toBe("training: [");
  const read = settled({ ...broken, draft: draftOf("training: {}\n") });
  expect(read.draft.config).toEqual({ training: {}, dataset: "ds-1" });
  expect(settled(read)).toEqual(read);
  expect(read.waiting).toEqual([]);
});
