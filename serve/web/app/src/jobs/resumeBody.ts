/** What a resume sends: which settings change, and where it continues. */
import type { Schemas } from "../api/client";
import { numberOf } from "../config/values";

type Suggestion = Schemas["Suggestion"];

/** `adjusted`: with the settings in the form; `original`: as submitted; `same`: as in the last attempt. */
export type ResumeMode = "adjusted" | "original" | "same";

/** A setting in the form, with its value as text. */
export interface Setting {
  field: string;
  text: string;
}

/** Text of a value in the form. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value ?? null);
}

/** The value of a text: a JSON value where it is one, else the text itself. Numbers may be written as in YAML. */
export function valueOf(text: string): unknown {
  const trimmed = text.trim();
  const number = numberOf(trimmed);
  if (typeof number === "number") return number;
  try {
    const value: unknown = JSON.parse(trimmed);
    return typeof value === "number" ? trimmed : value; // too large to be sent as a number
  } catch {
    return trimmed;
  }
}

export function settingsOf(suggestion: Suggestion | undefined): Setting[] {
  return (suggestion?.changes ?? []).map((change) => ({ field: change.field, text: textOf(change.to) }));
}

/** Whether the form is what the analysis suggests first. */
export function isAsSuggested(settings: Setting[], suggestion: Suggestion | undefined): boolean {
  const wanted = settingsOf(suggestion);
  return wanted.length > 0 && JSON.stringify(values(settings)) === JSON.stringify(values(wanted));
}

function values(settings: Setting[]): Record<string, unknown> {
  const named = settings.filter(({ field }) => field.trim() !== "");
  return Object.fromEntries(named.map(({ field, text }) => [field.trim(), valueOf(text)]));
}

export function resumeBody(
  mode: ResumeMode,
  settings: Setting[],
  first: Suggestion | undefined,
  checkpoint: string,
): Partial<Schemas["Resume"]> {
  const where = checkpoint ? { checkpoint } : {};
  if (mode === "original") return { ...where, original: true };
  if (mode === "same") return where;
  if (isAsSuggested(settings, first)) return { ...where, suggested: true };
  return { ...where, config_adjustments: values(settings) };
}
