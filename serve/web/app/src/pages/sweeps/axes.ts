/** The axes of the parallel coordinates, and the curve of the best value so far; plain data. */
import type { Sweep, Trial } from "../../api/sweeps";
import { number } from "../../format/format";

type Value = Trial["parameters"][string];

export interface Axis {
  name: string;
  /** Place of a value on the axis, from 0 at the bottom to 1 at the top; `null` without a value. */
  place: (value: Value | null | undefined) => number | null;
  ticks: { at: number; label: string }[];
}

interface Spec {
  values?: Value[] | null;
  min?: number | null;
  max?: number | null;
  log?: boolean;
}

/** The axis of each parameter, and the last one, that of the objective. */
export function axesOf(sweep: Sweep): Axis[] {
  const specs = sweep.config["parameters"] as Record<string, Spec>;
  const parameters = Object.entries(specs).map(([name, spec]) => axisOf(name, spec));
  const values = sweep.trials.flatMap(({ value }) => value ?? []);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return [...parameters, values.length > 0 ? rangeAxis(sweep.objective.metric, low, high, false) : choiceAxis(sweep.objective.metric, [])];
}

function axisOf(name: string, { values, min, max, log }: Spec): Axis {
  if (values) return choiceAxis(name, values);
  return rangeAxis(name, min ?? 0, max ?? 1, log ?? false);
}

function choiceAxis(name: string, values: Value[]): Axis {
  const isNumeric = values.every((value) => typeof value === "number");
  const sorted = isNumeric ? [...values].sort((a, b) => Number(a) - Number(b)) : values;
  const at = (index: number) => (sorted.length < 2 ? 0.5 : index / (sorted.length - 1));
  return {
    name,
    place: (value) => (sorted.includes(value as Value) ? at(sorted.indexOf(value as Value)) : null),
    ticks: sorted.map((value, index) => ({ at: at(index), label: shown(value) })),
  };
}

function rangeAxis(name: string, low: number, high: number, isLog: boolean): Axis {
  const scaled = (value: number) => (isLog ? Math.log(value) : value);
  const width = scaled(high) - scaled(low);
  const place = (value: number) => (width === 0 ? 0.5 : (scaled(value) - scaled(low)) / width);
  return {
    name,
    place: (value) => (typeof value === "number" ? place(value) : null),
    ticks: (low === high ? [low] : [low, high]).map((value) => ({ at: place(value), label: number(value, 3) })),
  };
}

/** A setting without its group, which says little where there is no room. */
export const shortName = (setting: string): string => setting.replace(/^(training|lora|method)\./, "");

export const shown = (value: Value | undefined): string => (typeof value === "number" ? number(value) : String(value ?? ""));

/** How good a trial is among all, from 0 (worst) to 1 (best); `null` without a value. */
export function goodnessOf(sweep: Sweep): (trial: Trial) => number | null {
  const values = sweep.trials.flatMap(({ value }) => value ?? []);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return ({ value }) => {
    if (value === null || value === undefined) return null;
    const place = high === low ? 1 : (value - low) / (high - low);
    return sweep.objective.direction === "maximise" || high === low ? place : 1 - place;
  };
}

/** The best value after each trial that completed, in the order in which they ended. */
export function bestSoFar(sweep: Sweep): { xs: number[]; ys: number[] } {
  const done = sweep.trials.filter(({ state, value }) => state === "completed" && typeof value === "number");
  done.sort((a, b) => String(a.finished_at).localeCompare(String(b.finished_at)) || a.number - b.number);
  const better = sweep.objective.direction === "maximise" ? Math.max : Math.min;
  const ys: number[] = [];
  for (const { value } of done) ys.push(ys.length === 0 ? Number(value) : better(ys[ys.length - 1] ?? 0, Number(value)));
  return { xs: ys.map((_, index) => index + 1), ys };
}
