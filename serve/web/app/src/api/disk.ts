import { queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";

export type DiskReport = Schemas["DiskReport"];

/** No event reports a change of sizes, so the page asks whenever it is opened. */
export const diskQuery = queryOptions({
  queryKey: ["disk"],
  staleTime: 0,
  queryFn: ({ signal }) => unwrap(http.GET("/api/disk", { signal })),
});
