/** Machines with their load, and what the devices of a job did. The live stream has neither, so both are polled. */
import { queryOptions } from "@tanstack/react-query";
import type { Job } from "./client";
import { ApiError, http, unwrap, type Schemas } from "./client";
import { jobKeys } from "./jobs";
import { isTerminal } from "../format/status";

export type NodeStatus = Schemas["NodeStatus"];
export type GpuSample = Schemas["GpuSample"];
export type DeviceSeries = Schemas["DeviceSeries"];
export type NodeHistory = Schemas["NodeHistory"];
export type GpuOut = Schemas["GpuOut"];

const NODES_EVERY_MS = 2000;
const TELEMETRY_EVERY_MS = 10_000;
const HISTORY_EVERY_MS = 60_000;
const HISTORY_POINTS = 240;
export const HISTORY_HOURS = 6;
/** Samples of a run are complete some seconds after its end. */
const COMPLETE_AFTER_MS = 15_000;

export const nodesQuery = queryOptions({
  queryKey: ["nodes"],
  queryFn: async ({ signal }) => (await unwrap(http.GET("/api/nodes", { signal }))).data,
  staleTime: 0,
  refetchInterval: NODES_EVERY_MS,
});

export const historyQuery = (node: string) =>
  queryOptions({
    queryKey: ["node", node, "history"],
    queryFn: async ({ signal }): Promise<NodeHistory | null> => {
      const after = new Date(Date.now() - HISTORY_HOURS * 3_600_000).toISOString();
      const query = { after, max_points: HISTORY_POINTS, name: ["cpu_percent", "utilization_percent"] };
      try {
        return await unwrap(http.GET("/api/nodes/{node}/history", { params: { path: { node }, query }, signal }));
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return null; // not measured yet
        throw error;
      }
    },
    staleTime: HISTORY_EVERY_MS,
    refetchInterval: HISTORY_EVERY_MS,
  });

/** Give a GPU that was taken out to jobs again. */
export const restoreDevice = ({ node, gpu }: GpuOut) =>
  unwrap(http.POST("/api/nodes/{node}/devices/{device}/restore", { params: { path: { node, device: `gpu-${String(gpu)}` } } }));

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
