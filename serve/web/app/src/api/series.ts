/** Metric series of a job, as columns. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { http, unwrap, type JobEvent, type Schemas } from "./client";
import { jobKeys } from "./jobs";

export interface Series {
  steps: number[];
  values: number[];
  /** Milliseconds since 1970. */
  times: number[];
  attempts: number[];
}

export type SeriesMap = Record<string, Series>;

/** Points of one series that the service sends; it thins longer series evenly. */
export const MAX_POINTS = 2000;
/** From this length on, a series that grew is loaded again, thinned. */
export const TOO_MANY_POINTS = 3 * MAX_POINTS;

const SPARK_POINTS = 60;

export type Sparks = Record<string, { steps: number[]; values: number[] }>;

interface Point {
  step: number;
  value: number;
  time: number;
  attempt: number;
}

export function seriesOf(points: Schemas["MetricPoint"][]): SeriesMap {
  const series: SeriesMap = {};
  for (const point of points) {
    const own = (series[point.name] ??= { steps: [], values: [], times: [], attempts: [] });
    own.steps.push(point.step);
    own.values.push(point.value);
    own.times.push(Date.parse(point.at));
    own.attempts.push(point.attempt);
  }
  return series;
}

/** The series with the measured values of events; a step that is measured again has the newer value. */
export function appendPoints(series: SeriesMap, events: JobEvent[]): SeriesMap {
  const added: Record<string, Point[]> = {};
  for (const event of events) {
    if (event.kind !== "metrics") continue;
    const data = event.data as Schemas["MetricsPayload"];
    for (const [name, value] of Object.entries(data.values ?? {})) {
      if (value === null || !Number.isFinite(value)) continue;
      const point = { step: data.step, value, time: Date.parse(event.at), attempt: event.attempt };
      (added[name] ??= []).push(point);
    }
  }
  const names = Object.keys(added);
  if (names.length === 0) return series;
  const after = { ...series };
  for (const name of names) after[name] = extended(series[name], added[name] ?? []);
  return after;
}

function extended(series: Series | undefined, points: Point[]): Series {
  const after: Series = series
    ? { steps: [...series.steps], values: [...series.values], times: [...series.times], attempts: [...series.attempts] }
    : { steps: [], values: [], times: [], attempts: [] };
  for (const point of points) put(after, point);
  return after;
}

function put(series: Series, point: Point): void {
  let index = series.steps.length;
  while (index > 0 && (series.steps[index - 1] ?? 0) > point.step) index -= 1;
  const isKnown = index > 0 && series.steps[index - 1] === point.step;
  const [start, removed] = isKnown ? [index - 1, 1] : [index, 0];
  if (isKnown && (series.attempts[start] ?? 0) > point.attempt) return;
  series.steps.splice(start, removed, point.step);
  series.values.splice(start, removed, point.value);
  series.times.splice(start, removed, point.time);
  series.attempts.splice(start, removed, point.attempt);
}

/** A short curve of each of these jobs, by the id of the job. */
export const sparkQuery = (ids: string[], name: string) =>
  queryOptions({
    queryKey: ["sparks", name, ids.join()],
    enabled: ids.length > 0,
    queryFn: async ({ signal }) => {
      const query = { job: ids, name: [name], max_points: SPARK_POINTS };
      const reply = await unwrap(http.GET("/api/training/metrics", { params: { query }, signal }));
      return Object.fromEntries(reply.data.map((series) => [series.job_id, series])) as Sparks;
    },
    placeholderData: keepPreviousData,
  });

export const seriesQuery = (id: string) =>
  queryOptions({
    queryKey: jobKeys.part(id, "series"),
    queryFn: async ({ signal }) => {
      const params = { path: { job_id: id }, query: { max_points: MAX_POINTS } };
      const reply = await unwrap(http.GET("/api/training/jobs/{job_id}/metrics", { params, signal }));
      return seriesOf(reply.data);
    },
  });
