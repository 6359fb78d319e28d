/** Machines with their load, and what the devices of a job did. The live stream has neither, so both are polled. */
import { queryOptions } from "@tanstack/react-query";
import type { Job } from "./client";
import { http, unwrap, type Schemas } from "./client";
import { jobKeys } from "./jobs";
import { isTerminal } from "../format/status";

export type NodeStatus = Schemas["NodeStatus"];
export type GpuSample = Schemas["GpuSample"];
export type DeviceSeries = Schemas["DeviceSeries"];

const NODES_EVERY_MS = 2000;
const TELEMETRY_EVERY_MS = 10_000;
/** Samples of a run are complete some seconds after its end. */
const COMPLETE_AFTER_MS = 15_000;

export const nodesQuery = queryOptions({
  queryKey: ["nodes"],
  queryFn: async ({ signal }) => (await unwrap(http.GET("/api/nodes", { signal }))).data,
  staleTime: 0,
  refetchInterval: NODES_EVERY_MS,
});

export const telemetryQuery = (job: Job) =>
  queryOptions({
    queryKey: jobKeys.part(job.id, "telemetry"),
    queryFn: async ({ signal }) =>
      (await unwrap(http.GET("/api/training/jobs/{job_id}/gpu", { params: { path: { job_id: job.id } }, signal }))).data,
    staleTime: 0,
    refetchInterval: () => (isSampled(job) ? TELEMETRY_EVERY_MS : false),
  });

/** Whether new points of the job can still come. */
function isSampled(job: Job): boolean {
  if (!isTerminal(job.status)) return job.started_at !== null;
  return job.finished_at ? Date.now() - Date.parse(job.finished_at) < COMPLETE_AFTER_MS : false;
}
