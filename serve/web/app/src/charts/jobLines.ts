/** The lines and marks of one job's charts. */
import type { Job, Schemas } from "../api/client";
import type { Series, SeriesMap } from "../api/series";
import { xOfStep, xsOf, type XAxis, type XScale } from "./axes";
import type { Line, Mark } from "./lines";
import { isSmoothed, type MetricGroup } from "./metricGroups";
import { smoothed } from "./smooth";

const EMPTY: Series = { steps: [], values: [], times: [], attempts: [] };

/** A few measured points are shown as they are. */
const FEW_POINTS = 30;

export function scaleOf(job: Job, series: SeriesMap, axis: XAxis): XScale {
  const starts = Object.values(series).map((own) => own.times[0] ?? Infinity);
  return {
    axis,
    epochsPerStep: epochsPerStep(job),
    start: job.started_at ? Date.parse(job.started_at) : Math.min(...starts),
  };
}

/** Epochs count within a file, so that jobs of several files have no such axis. */
export function epochsPerStep(job: Job): number {
  return job.epoch && job.step && (job.num_files ?? 1) === 1 ? job.epoch / job.step : 0;
}

export function axesOf(job: Job): XAxis[] {
  return epochsPerStep(job) > 0 ? ["step", "epoch", "time"] : ["step", "time"];
}

export function linesOf(group: MetricGroup, series: SeriesMap, scale: XScale, smoothing: number): Line[] {
  const lines: Line[] = [];
  const training = group.training ? series[group.training] : undefined;
  if (training && group.training) {
    const line = { label: group.training, xs: xsOf(training, scale), color: "--run-1" };
    if (smoothing > 0 && isSmoothed(group.training) && training.values.length > 2) {
      lines.push({ ...line, label: `${group.training}, measured`, ys: training.values, isFaint: true });
      lines.push({ ...line, ys: smoothed(training.values, smoothing) });
    } else {
      lines.push({ ...line, ys: training.values, hasPoints: training.values.length < FEW_POINTS });
    }
  }
  const evaluation = group.evaluation ? series[group.evaluation] : undefined;
  if (evaluation && group.evaluation) {
    const line = { label: group.evaluation, xs: xsOf(evaluation, scale), ys: evaluation.values, color: "--run-2" };
    lines.push({ ...line, dash: [6, 4], hasPoints: evaluation.values.length < FEW_POINTS });
  }
  return lines;
}

/** Checkpoints, and where an attempt took over from another one. */
export function marksOf(series: SeriesMap, checkpoints: Schemas["Checkpoint"][], scale: XScale): Mark[] {
  const base = series["loss"] ?? series["reward"] ?? Object.values(series)[0] ?? EMPTY;
  const marks: Mark[] = [];
  for (const { step, is_best } of checkpoints) {
    const x = xOfStep(step, base, scale);
    const label = `Checkpoint of step ${String(step)}${is_best ? ", the best" : ""}`;
    if (x !== null) marks.push({ x, kind: is_best ? "best" : "checkpoint", label });
  }
  base.attempts.forEach((attempt, index) => {
    const step = base.steps[index] ?? 0;
    const x = xOfStep(step, base, scale);
    const isNew = index > 0 && attempt !== base.attempts[index - 1];
    if (isNew && x !== null) marks.push({ x, kind: "retry", label: `Attempt ${String(attempt)} begins` });
  });
  return marks;
}
