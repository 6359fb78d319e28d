/** What the page of a new job asks the service for. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { JobSchema } from "../config/schema";
import type { Config } from "../config/draft";
import { http, unwrap, UNREACHABLE, ApiError, errorOf, type Schemas } from "./client";

/** The settings of a job, from the description of the API. */
export const schemaQuery = queryOptions({
  queryKey: ["schema"],
  queryFn: async ({ signal }) => {
    const reply = await fetch("/openapi.json", { signal }).catch(() => null);
    if (!reply) throw new ApiError(UNREACHABLE, 0, "unreachable");
    if (!reply.ok) throw errorOf(reply.status, null);
    return new JobSchema((await reply.json()) as Record<string, unknown>);
  },
});

/** What a job with this config would need. Refuses what a submission refuses. */
export const estimateQuery = (config: Config, isComplete: boolean) =>
  queryOptions({
    queryKey: ["estimate", config],
    enabled: isComplete,
    gcTime: 60_000,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      unwrap(http.POST("/api/training/jobs/estimate", { body: config as Schemas["JobConfig"], signal })),
  });

/** The judges and the tasks that evaluations may name. */
export const evaluationOptionsQuery = queryOptions({
  queryKey: ["evaluation-options"],
  queryFn: ({ signal }) => unwrap(http.GET("/api/evaluations/options", { signal })),
});

/** `key` makes a repeated submission return the first job. */
export const submitJob = (config: Config, key: string) =>
  unwrap(
    http.POST("/api/training/jobs", {
      params: { header: { "Idempotency-Key": key } },
      body: config as Schemas["JobConfig"],
    }),
  );
