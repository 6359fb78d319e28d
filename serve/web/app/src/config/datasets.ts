/** The datasets of a config and their weights: a list with one entry is written as a word, as the service reads both. */
import type { Config } from "./draft";

export function datasetsOf(config: Config): string[] {
  const given = config["dataset"];
  if (Array.isArray(given)) return given.map(String);
  return typeof given === "string" && given ? [given] : [];
}

/** The weight of each dataset as it is written; `null` where they are trained one after another. */
export function weightsOf(config: Config): unknown[] | null {
  const weights: unknown = config["dataset_weights"];
  return Array.isArray(weights) ? weights : null;
}

export function withAdded(config: Config, id: string): Record<string, unknown> {
  return changes([...datasetsOf(config), id], weightsOf(config)?.concat(1) ?? null);
}

export function withRemoved(config: Config, index: number): Record<string, unknown> {
  return changes(datasetsOf(config).toSpliced(index, 1), weightsOf(config)?.toSpliced(index, 1) ?? null);
}

/** The dataset changes places with the one before it. */
export function withMovedUp(config: Config, index: number): Record<string, unknown> {
  return changes(swapped(datasetsOf(config), index), swapped(weightsOf(config), index));
}

/** Mixed by weight, at first in equal parts, or trained one after another. */
export function withMix(config: Config, isMixed: boolean): Record<string, unknown> {
  const ids = datasetsOf(config);
  return changes(ids, isMixed ? ids.map(() => 1) : null);
}

export function withWeight(config: Config, index: number, weight: unknown): Record<string, unknown> {
  const weights = datasetsOf(config).map((_, at): unknown => weightsOf(config)?.[at] ?? 1);
  return changes(datasetsOf(config), weights.map((before, at) => (at === index ? weight : before)));
}

function changes(ids: string[], weights: unknown[] | null): Record<string, unknown> {
  const isList = ids.length > 1;
  return { dataset: isList ? ids : ids[0], dataset_weights: isList && weights ? weights : undefined };
}

function swapped<T extends unknown[] | null>(items: T, index: number): T {
  if (items === null || index < 1 || index >= items.length) return items;
  return items.with(index - 1, items[index]).with(index, items[index - 1]) as T;
}
