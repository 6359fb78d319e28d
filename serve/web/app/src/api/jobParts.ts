/** What belongs to one job: events, logs, checkpoints, attempts, and the analysis of its failure. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { http, unwrap, type JobStatus, type Schemas } from "./client";
import { jobKeys } from "./jobs";

type Kind = Schemas["EventKind"];

const MAX_EVENTS = 5000;
const EXPORT_POLL_MS = 2000;
const ENDED = new Set<JobStatus>(["completed", "failed", "cancelled"]);

const path = (id: string) => ({ path: { job_id: id } });

export const checkpointsQuery = (id: string) =>
  queryOptions({
    queryKey: jobKeys.part(id, "checkpoints"),
    queryFn: async ({ signal }) =>
      (await unwrap(http.GET("/api/training/jobs/{job_id}/checkpoints", { params: path(id), signal }))).data,
  });

const checkpointAt = (id: string, name: string) => ({ params: { path: { job_id: id, name } } });

/** Keep a checkpoint until it is unpinned, or let it be removed again. */
export const pinCheckpoint = (id: string, name: string, isPinned: boolean) =>
  unwrap(
    http.PATCH("/api/training/jobs/{job_id}/checkpoints/{name}", {
      ...checkpointAt(id, name),
      body: { is_pinned: isPinned },
    }),
  );

export const deleteCheckpoint = (id: string, name: string) =>
  unwrap(http.DELETE("/api/training/jobs/{job_id}/checkpoints/{name}", checkpointAt(id, name)));

export const attemptsQuery = (id: string) =>
  queryOptions({
    queryKey: jobKeys.part(id, "attempts"),
    queryFn: async ({ signal }) =>
      (await unwrap(http.GET("/api/training/jobs/{job_id}/attempts", { params: path(id), signal }))).data,
  });

export const failureQuery = (id: string) =>
  queryOptions({
    queryKey: jobKeys.part(id, "failure"),
    queryFn: ({ signal }) => unwrap(http.GET("/api/training/jobs/{job_id}/failure", { params: path(id), signal })),
  });

export const evaluationQuery = (id: string) =>
  queryOptions({
    queryKey: jobKeys.part(id, "evaluation"),
    queryFn: ({ signal }) => unwrap(http.GET("/api/training/jobs/{job_id}/evaluation", { params: path(id), signal })),
  });

/** Of a training job: the exports of its models; of an export, itself. Looked up again while one is not done. */
export const exportsQuery = (id: string) =>
  queryOptions({
    queryKey: jobKeys.part(id, "exports"),
    queryFn: async ({ signal }) =>
      (await unwrap(http.GET("/api/training/jobs/{job_id}/exports", { params: path(id), signal }))).data,
    refetchInterval: ({ state }) => (state.data?.some(({ status }) => !ENDED.has(status)) ? EXPORT_POLL_MS : false),
  });

/** The types of weights that the service can write. */
export const exportOptionsQuery = queryOptions({
  queryKey: ["export-options"],
  queryFn: ({ signal }) => unwrap(http.GET("/api/exports/options", { signal })),
});

export const startExport = (config: Partial<Schemas["ExportConfig"]>) =>
  unwrap(http.POST("/api/training/jobs", { body: config as Schemas["ExportConfig"] }));

export const artifactAddress = (exportId: string, artifact: string) =>
  `/api/training/jobs/${exportId}/exports/${encodeURIComponent(artifact)}`;

export const deleteArtifact = (exportId: string, artifact: string) =>
  unwrap(
    http.DELETE("/api/training/jobs/{job_id}/exports/{artifact}", { params: { path: { job_id: exportId, artifact } } }),
  );

export const analyticsQuery = (id: string) =>
  queryOptions({
    queryKey: jobKeys.part(id, "analytics"),
    queryFn: ({ signal }) => unwrap(http.GET("/api/training/jobs/{job_id}/analytics", { params: path(id), signal })),
  });

/** `part` is "events" or "samples": which events make the list stale. */
export const eventsQuery = (id: string, part: "events" | "samples", kinds: Kind[]) =>
  queryOptions({
    queryKey: [...jobKeys.part(id, part), kinds.join()],
    queryFn: async ({ signal }) => {
      const params = { ...path(id), query: { limit: MAX_EVENTS, kind: kinds } };
      return (await unwrap(http.GET("/api/training/jobs/{job_id}/events", { params, signal }))).data;
    },
  });

export const logsQuery = (id: string, tail: number) =>
  queryOptions({
    queryKey: [...jobKeys.part(id, "logs"), String(tail)],
    queryFn: async ({ signal }) => {
      const params = { ...path(id), query: { tail } };
      return (await unwrap(http.GET("/api/training/jobs/{job_id}/logs", { params, signal }))).data;
    },
    placeholderData: keepPreviousData,
  });

export const infoQuery = queryOptions({
  queryKey: ["info"],
  queryFn: ({ signal }) => unwrap(http.GET("/api/info", { signal })),
});
