/** Brings what is shown up to date with events, without asking the service where the event says it all. */
import type { QueryClient, QueryFilters, QueryKey } from "@tanstack/react-query";
import type { Job, JobEvent, Schemas } from "../api/client";
import { jobKeys, type JobPages } from "../api/jobs";
import { appendPoints, type SeriesMap } from "../api/series";

type Metrics = Schemas["MetricsPayload"];
type Status = Schemas["StatusPayload"];

/** The job after the event; the same object where nothing of it changed. */
export function jobAfter(job: Job, event: JobEvent): Job {
  if (event.job_id !== job.id || event.seq <= (job.last_seq ?? 0)) return job;
  const after: Job = { ...job, last_seq: event.seq, attempt: Math.max(job.attempt ?? 0, event.attempt) };
  if (event.kind === "status") {
    const data = event.data as Status;
    return { ...after, status: data.status, message: data.message ?? after.message, reason: data.reason ?? null };
  }
  if (event.kind === "metrics" || event.kind === "progress") return progressed(after, event.data as Metrics);
  return after;
}

function progressed(job: Job, data: Metrics): Job {
  const values = data.values ?? {};
  return {
    ...job,
    step: data.step,
    total_steps: data.total_steps ?? job.total_steps ?? null,
    epoch: data.epoch ?? job.epoch ?? null,
    eta_s: data.eta_s ?? job.eta_s ?? null,
    phase: data.phase ?? job.phase ?? null,
    file: data.file ?? job.file ?? null,
    file_progress: data.file_progress ?? job.file_progress ?? null,
    loss: values["loss"] ?? job.loss ?? null,
    eval_loss: values["eval_loss"] ?? job.eval_loss ?? null,
  };
}

/** Events that change more of a job than they say, such as its place in the queue or its checkpoints. */
const CHANGES_MORE = new Set(["status", "notice", "checkpoint"]);

/** Apply events to the cached data; returns the keys of the queries that have to be repeated. */
export function applyEvents(client: QueryClient, events: JobEvent[]): (readonly string[])[] {
  const stale: (readonly string[])[] = [];
  const byJob = new Map<string, JobEvent[]>();
  for (const event of events) byJob.set(event.job_id, [...(byJob.get(event.job_id) ?? []), event]);
  changeCached<JobPages>(client, { queryKey: jobKeys.lists }, (pages) => pagesAfter(pages, byJob));
  for (const [id, own] of byJob) {
    changeCached<Job>(client, { queryKey: jobKeys.job(id), exact: true }, (job) => own.reduce(jobAfter, job));
    changeCached<SeriesMap>(client, { queryKey: jobKeys.part(id, "series"), exact: true }, (series) => appendPoints(series, own));
    stale.push(...staleAfter(id, own));
  }
  if (events.some((event) => event.kind === "status" || event.kind === "notice")) stale.push(jobKeys.lists, ["queue"], ["comparison"]);
  return stale;
}

/** Change cached data. What is being read is changed again after the reply: it may be older than the events, and replaces them. */
function changeCached<Data>(client: QueryClient, filters: QueryFilters, after: (data: Data) => Data): void {
  const cache = client.getQueryCache();
  const change = (key: QueryKey) => client.setQueryData<Data>(key, (data) => data && after(data));
  for (const query of cache.findAll(filters)) {
    change(query.queryKey);
    if (query.state.fetchStatus !== "fetching") continue;
    const stop = cache.subscribe((update) => {
      if (update.query !== query || query.state.fetchStatus === "fetching") return;
      stop();
      change(query.queryKey);
    });
  }
}

/** Drop a deleted job from what is shown. Its open page reads it again, and says that it is gone. */
export function applyDeletion(client: QueryClient, id: string): void {
  client.setQueriesData<JobPages>({ queryKey: jobKeys.lists }, (pages) => pages && withoutJob(pages, id));
  void client.invalidateQueries({ queryKey: jobKeys.job(id) });
}

function withoutJob(pages: JobPages, id: string): JobPages {
  return { ...pages, pages: pages.pages.map((page) => ({ ...page, data: page.data.filter((job) => job.id !== id) })) };
}

function staleAfter(id: string, events: JobEvent[]): (readonly string[])[] {
  const kinds = new Set(events.map((event) => event.kind));
  const stale: (readonly string[])[] = [];
  if (kinds.size > 1 || !kinds.has("progress")) stale.push(jobKeys.part(id, "logs"));
  if (kinds.has("checkpoint")) stale.push(jobKeys.part(id, "checkpoints"));
  if (kinds.has("sample")) stale.push(jobKeys.part(id, "samples"));
  if (kinds.has("status")) stale.push(jobKeys.part(id, "attempts"), jobKeys.part(id, "failure"));
  if (events.some((event) => CHANGES_MORE.has(event.kind))) stale.push(jobKeys.job(id), jobKeys.part(id, "events"));
  return stale;
}

function pagesAfter(pages: JobPages, byJob: Map<string, JobEvent[]>): JobPages {
  const after = (job: Job) => (byJob.get(job.id) ?? []).reduce(jobAfter, job);
  return { ...pages, pages: pages.pages.map((page) => ({ ...page, data: page.data.map(after) })) };
}
