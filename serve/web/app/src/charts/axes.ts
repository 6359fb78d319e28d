/** The x axis of a chart: what a point's place on it is, and how it is written. */
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
