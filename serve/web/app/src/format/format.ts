/** Numbers, times and sizes as text. Missing values are a dash. */

export const NONE = "–";

/** A measured number with four significant digits: `2.873`, `0.0002`, `1.2e-7`. */
export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined) return NONE;
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(digits - 3).replace("e+", "e");
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(digits)));
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : value.toLocaleString("en-US");
}

/** `1 job`, `2 jobs`. */
export function counted(value: number, noun: string, plural = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : plural}`;
}

export function percent(part: number | null | undefined): string {
  return part === null || part === undefined ? NONE : `${String(Math.floor(part * 100))}%`;
}

/** Seconds in the two largest units: `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return seconds > 0 && seconds < 1 ? "under 1 s" : `${String(whole)} s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86400) return pair(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return pair(Math.floor(whole / 86400), "d", Math.floor((whole % 86400) / 3600), "h");
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return `${String(large)} ${largeUnit}${small ? ` ${String(small)} ${smallUnit}` : ""}`;
}

/** One unit only: for estimates, which are not exact to the second. */
export function about(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 60) return "under 1 min";
  if (seconds < 5400) return `${String(Math.round(seconds / 60))} min`;
  if (seconds < 172800) return `${String(Math.round(seconds / 3600))} h`;
  return `${String(Math.round(seconds / 86400))} d`;
}

/** How long ago a time is. */
export function ago(at: string | Date | null | undefined, now = Date.now()): string {
  if (!at) return NONE;
  const seconds = (now - new Date(at).getTime()) / 1000;
  if (seconds < 45) return "just now";
  return `${about(Math.max(60, seconds))} ago`;
}

/** An amount of money, which the service sends as an exact decimal: `2.90 EUR`, and small ones with more digits. */
export function money(amount: string | null | undefined, currency: string | null | undefined): string {
  if (amount === null || amount === undefined) return NONE;
  const value = Number(amount);
  const digits = value !== 0 && Math.abs(value) < 0.1 ? 4 : 2;
  const text = value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: digits });
  return currency ? `${text} ${currency}` : text;
}

export function bytes(size: number | null | undefined): string {
  if (size === null || size === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = size;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${String(Number(value.toPrecision(3)))} ${units[unit] ?? ""}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DATE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** `14:03:09`, in the browser's time zone. */
export function clock(at: string | Date | number): string {
  return CLOCK.format(new Date(at));
}

export function dateTime(at: string | null | undefined): string {
  return at ? DATE.format(new Date(at)) : NONE;
}
