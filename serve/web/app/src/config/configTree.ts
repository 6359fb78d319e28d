/** A config as a flat list of settings, and the differences of several configs. */

export type Flat = Record<string, unknown>;

/** Settings by their dotted paths. A list is one value. */
export function flat(config: unknown, prefix = ""): Flat {
  if (config === null || typeof config !== "object" || Array.isArray(config)) return { [prefix]: config };
  const found: Flat = {};
  for (const [name, value] of Object.entries(config)) {
    Object.assign(found, flat(value, prefix ? `${prefix}.${name}` : name));
  }
  return found;
}

export function shown(value: unknown): string {
  if (value === undefined || value === null) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}

export interface Difference {
  field: string;
  values: unknown[];
}

/** The settings in which the configs differ, in the order of their names. */
export function differences(configs: unknown[]): Difference[] {
  const all = configs.map((config) => flat(config));
  const fields = [...new Set(all.flatMap(Object.keys))].sort();
  return fields
    .map((field) => ({ field, values: all.map((config) => config[field]) }))
    .filter(({ values }) => new Set(values.map((value) => JSON.stringify(value ?? null))).size > 1);
}
