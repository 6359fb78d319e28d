import { useQueries } from "@tanstack/react-query";
import type { Job } from "../../api/client";
import { seriesQuery, type SeriesMap } from "../../api/series";
import { xsOf, type XAxis } from "../../charts/axes";
import { ChartControls, useChartSettings } from "../../charts/ChartControls";
import { ChartPanel } from "../../charts/ChartPanel";
import { axesOf, scaleOf } from "../../charts/jobLines";
import type { Line } from "../../charts/lines";
import { isSmoothed, titleOf } from "../../charts/metricGroups";
import { smoothed } from "../../charts/smooth";
import { EmptyState, Loading } from "../../ui/Notes";
import { labelsOf } from "./labels";
import { styleOf } from "./chosen";

/** What is compared first; other measures follow by name. */
const FIRST = ["loss", "eval_loss", "reward", "eval_reward", "grad_norm", "learning_rate", "tokens_per_s"];
const FEW_POINTS = 30;

/** One chart for each measure, with a line for each job. */
export function ComparedCurves({ jobs }: { jobs: Job[] }) {
  const [settings, setSettings] = useChartSettings();
  const found = useQueries({ queries: jobs.map((job) => seriesQuery(job.id)) });
  if (found.some(({ isPending }) => isPending)) return <Loading lines={3} />;
  const all = found.map(({ data }) => data ?? {});
  const axes = (["step", "epoch", "time"] as XAxis[]).filter((axis) => jobs.every((job) => axesOf(job).includes(axis)));
  const axis = axes.includes(settings.axis) ? settings.axis : "step";
  const names = namesOf(all);
  if (names.length === 0) {
    return <EmptyState title="Nothing is measured yet"><p>The curves appear with the first step of a job.</p></EmptyState>;
  }
  return (
    <>
      <ChartControls settings={{ ...settings, axis }} onChange={setSettings} axes={axes} />
      <div className="charts">
        {names.map((name) => (
          <ChartPanel
            key={name}
            title={titleOf(name)}
            lines={linesFor(name, jobs, all, axis, settings.smoothing)}
            axis={axis}
            isLog={settings.isLog}
            fileName="compare"
            {...(name === names[0] ? { height: 320 } : {})}
          />
        ))}
      </div>
    </>
  );
}

function namesOf(all: SeriesMap[]): string[] {
  const names = new Set(all.flatMap((series) => Object.keys(series)));
  const rank = (name: string) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

function linesFor(name: string, jobs: Job[], all: SeriesMap[], axis: XAxis, smoothing: number): Line[] {
  const labels = labelsOf(jobs);
  return jobs.flatMap((job, index) => {
    const series = all[index]?.[name];
    if (!series) return [];
    const isFew = series.values.length < FEW_POINTS;
    const ys = smoothing > 0 && !isFew && isSmoothed(name) ? smoothed(series.values, smoothing) : series.values;
    const xs = xsOf(series, scaleOf(job, all[index] ?? {}, axis));
    return [{ label: labels[index] ?? job.name, xs, ys, hasPoints: isFew, ...styleOf(index) }];
  });
}
