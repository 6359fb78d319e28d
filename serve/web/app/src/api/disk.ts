import { queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";

export type DiskReport = Schemas["DiskReport"];
export type CheckpointRule = Schemas["CheckpointRule"];

/** No event reports a change of sizes, so the page asks whenever it is opened. */
export const diskQuery = queryOptions({
  queryKey: ["disk"],
  staleTime: 0,
  queryFn: ({ signal }) => unwrap(http.GET("/api/disk", { signal })),
});

/** Delete checkpoints by a rule, or only report them. */
export const pruneCheckpoints = (rule: CheckpointRule) => unwrap(http.POST("/api/training/checkpoints/prune", { body: rule }));
