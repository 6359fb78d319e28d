/** Values of settings: as text in a field, and whether they are within the bounds of the schema. */
import type { Setting, Variant } from "./schema";

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

export function isNumeric(setting: Setting): boolean {
  return setting.kind === "number" || setting.kind === "integer";
}

/**
 * The value of a text in the field of a number: a number where it is one, else the text, which is then refused. So is
 * a number that would be sent as another one: JSON has no infinity, and JavaScript rounds large integers.
 */
export function numberOf(text: string): number | string {
  const trimmed = text.trim();
  if (!NUMBER.test(trimmed)) return trimmed;
  const value = Number(trimmed);
  return isSentAsWritten(value, /^[+-]?\d+$/.test(trimmed)) ? value : trimmed;
}

function isSentAsWritten(value: number, isWhole: boolean): boolean {
  return Number.isFinite(value) && (!isWhole || Number.isSafeInteger(value));
}

/** Whether a number anywhere in the value would arrive as another one. */
function isChangedBySending(value: unknown): boolean {
  if (typeof value === "number") return !isSentAsWritten(value, Number.isInteger(value));
  return value !== null && typeof value === "object" && Object.values(value).some(isChangedBySending);
}

export function plainText(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : shortNumber(value);
}

function shortNumber(value: unknown): string {
  return typeof value === "number" ? String(value).replace("e+", "e") : JSON.stringify(value);
}

/** `1 to 4096`, `above 0 and up to 1`, `0 or more and below 1`. */
export function boundsText(setting: Setting): string {
  const { min, max, isAbove, isBelow } = setting;
  if (!isNumeric(setting) || min === undefined) return "";
  if (max === undefined) return isAbove ? `above ${shown(min)}` : `${shown(min)} or more`;
  if (!isAbove && !isBelow) return `${shown(min)} to ${shown(max)}`;
  const low = isAbove ? `above ${shown(min)}` : `${shown(min)} or more`;
  return `${low} and ${isBelow ? "below" : "up to"} ${shown(max)}`;
}

function shown(value: number): string {
  return value.toLocaleString("en-US", { useGrouping: value >= 10_000 });
}

/** What is wrong with a value, as far as the schema says it; `null` where nothing is. The service checks the rest. */
export function problemOf(setting: Setting, value: unknown): string | null {
  if (value === undefined || value === null || setting.words.includes(String(value))) return null;
  const or = setting.words.length ? `, or ${setting.words.join(", ")}` : "";
  if (isNumeric(setting)) {
    const noun = setting.kind === "integer" ? "a whole number" : "a number";
    const bounds = boundsText(setting);
    const isNumber = typeof value === "number" && Number.isFinite(value);
    const fits = isNumber && isWithin(setting, value) && (setting.kind === "number" || Number.isInteger(value));
    return fits ? null : `Must be ${noun}${bounds ? `, ${bounds}` : ""}${or}.`;
  }
  if (setting.choices.length && !setting.choices.includes(value)) {
    return `Must be ${setting.choices.map(String).join(", ")}${or}.`;
  }
  if (setting.kind === "text" && typeof value !== "string") return "Must be a text; put it in quotes.";
  if (isChangedBySending(value)) return "Has a number that is too large to be sent as it is written.";
  return null;
}

function isWithin({ min, max, isAbove, isBelow }: Setting, value: number): boolean {
  if (min !== undefined && (isAbove ? value <= min : value < min)) return false;
  return max === undefined || (isBelow ? value < max : value <= max);
}

/** The settings inside the items of a list, as far as its value has them, with their whole paths. */
export function settingsInside({ path, items }: Setting, value: unknown): Setting[] {
  if (items?.kind !== "variants" || !Array.isArray(value)) return [];
  return value.flatMap((item: unknown, index) =>
    (variantOf(items.variants, item)?.settings ?? []).map((inner) => ({
      ...inner,
      path: `${path}.${String(index)}.${inner.path}`,
    })),
  );
}

export function variantOf(variants: Variant[], item: unknown): Variant | undefined {
  const type = (item as { type?: unknown } | null | undefined)?.type;
  return variants.find((variant) => variant.type === type);
}

/** The setting that an error is about: the one that the service names, else the first one that its sentence names. */
export function settingAtFault(param: string | null, message: string, paths: string[]): string | null {
  if (param !== null && paths.includes(param)) return param;
  const inside = paths.filter((path) => param?.startsWith(`${path}.`)).sort((a, b) => b.length - a.length)[0];
  if (inside) return inside;
  const named = paths
    .map((path) => ({ path, index: mentioned(message, path) }))
    .filter(({ index }) => index >= 0)
    .sort((a, b) => a.index - b.index || b.path.length - a.path.length);
  return named[0]?.path ?? null;
}

/** Position of a path in a sentence, where it stands alone; single words such as `name` are too common to count. */
function mentioned(message: string, path: string): number {
  if (!/[._]/.test(path)) return -1;
  const index = message.indexOf(path);
  return index >= 0 && !/[\w.]/.test(message[index - 1] ?? " ") && !/\w/.test(message[index + path.length] ?? " ")
    ? index
    : -1;
}
