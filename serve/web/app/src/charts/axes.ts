/** The axes of a chart: what a point's place on the x axis is, and how places are labelled. */
import type { Series } from "../api/series";
import { count, duration, number } from "../format/format";

export type XAxis = "step" | "epoch" | "time";

export const X_AXES: { name: XAxis; label: string }[] = [
  { name: "step", label: "Step" },
  { name: "epoch", label: "Epoch" },
  { name: "time", label: "Time" },
];

export interface XScale {
  axis: XAxis;
  /** Epochs of one step; 0 where that is not known. */
  epochsPerStep: number;
  /** Milliseconds since 1970 at the time 0. */
  start: number;
}

export function xsOf(series: Series, scale: XScale): number[] {
  if (scale.axis === "epoch") return series.steps.map((step) => step * scale.epochsPerStep);
  if (scale.axis === "time") return rising(series.times.map((time) => (time - scale.start) / 1000));
  return series.steps;
}

/** Times in the order of the steps: a step that was measured again after a crash may have an earlier neighbour. */
function rising(values: number[]): number[] {
  let highest = -Infinity;
  return values.map((value) => (highest = Math.max(highest, value)));
}

/** Where a step is on the axis, by the points of a series. */
export function xOfStep(step: number, series: Series, scale: XScale): number | null {
  if (scale.axis === "step") return step;
  if (scale.axis === "epoch") return step * scale.epochsPerStep;
  const index = series.steps.findIndex((known) => known >= step);
  return index < 0 ? null : ((series.times[index] ?? 0) - scale.start) / 1000;
}

export function formatX(axis: XAxis, value: number): string {
  if (axis === "time") return duration(value);
  return axis === "epoch" ? number(value, 3) : count(Math.round(value));
}

/** Distances that labels may have: whole steps, and round times. */
const STEPS = Array.from({ length: 30 }, (_, place) => ([1, 2, 5][place % 3] ?? 1) * 10 ** Math.floor(place / 3));
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SECONDS = [1, 2, 5, 10, 15, 30].flatMap((each) => [each, each * MINUTE]);
const TIMES = [...SECONDS, ...[1, 2, 3, 6, 12].map((each) => each * HOUR), ...STEPS.map((each) => each * DAY)].sort((a, b) => a - b);

/** Where the labels of an axis are, for uPlot: `incrs` between two of them, and `space`, the least number of pixels. */
export function labelPlaces(axis: XAxis): { incrs?: number[]; space?: number } {
  if (axis === "time") return { incrs: TIMES, space: 90 };
  return axis === "step" ? { incrs: STEPS } : {};
}

const MOST_DIGITS = 12;

/** Labels of the y axis, with as many digits as tell them apart. A logarithmic axis leaves some of its lines without one. */
export function yLabels(values: (number | null)[]): string[] {
  const known = values.filter((value) => value !== null);
  const distance = Math.min(...known.slice(1).map((value, place) => Math.abs(value - (known[place] ?? 0))));
  const isExact = (digits: number) => known.every((value) => Math.abs(Number(number(value, digits).replaceAll(",", "")) - value) <= distance / 20);
  let digits = 3;
  while (digits < MOST_DIGITS && !isExact(digits)) digits += 1;
  return values.map((value) => (value === null ? "" : number(value, digits)));
}
