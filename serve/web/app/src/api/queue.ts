import { queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";

export type Queue = Schemas["Queue"];
export type QueueEntry = Schemas["QueueEntry"];

/** Queued jobs that the page of the queue shows and moves. */
export const MAX_QUEUED = 100;

export const queueQuery = queryOptions({
  queryKey: ["queue"],
  queryFn: ({ signal }) => unwrap(http.GET("/api/training/queue", { params: { query: { limit: MAX_QUEUED } }, signal })),
});

/** Devices by type; stale whenever the queue is. */
export const devicesQuery = queryOptions({
  queryKey: [...queueQuery.queryKey, "devices"],
  queryFn: async ({ signal }) => (await unwrap(http.GET("/api/training/devices", { signal }))).data,
});

/** Move a queued job to the front, or right behind another one with its priority. */
export const moveJob = (id: string, behind: string | null) =>
  unwrap(
    http.POST("/api/training/jobs/{job_id}/move", {
      params: { path: { job_id: id } },
      body: behind === null ? { to: "front" } : { to: "behind", job: behind },
    }),
  );
