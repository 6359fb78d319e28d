/** Queries and changes of sweeps. The live stream has none of them, so they are polled while they work. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";
import { paged, pageQuery } from "./pages";

export type Sweep = Schemas["Sweep"];
export type SweepSummary = Schemas["SweepSummary"];
export type SweepStatus = Schemas["SweepStatus"];
export type Trial = Schemas["Trial"];

const PAGE_SIZE = 50;
const EVERY_MS = 3000;

export const isAtWork = (sweep: Pick<SweepSummary, "status" | "num_open">): boolean =>
  sweep.status === "running" || sweep.status === "paused" || sweep.num_open > 0;

export const sweepListQuery = infiniteQueryOptions({
  queryKey: ["sweeps"],
  ...paged,
  queryFn: ({ pageParam, signal }) =>
    unwrap(http.GET("/api/sweeps", { params: { query: pageQuery(PAGE_SIZE, pageParam) }, signal })),
  staleTime: 0,
  refetchInterval: ({ state }) => (state.data?.pages.some((page) => page.data.some(isAtWork)) ? EVERY_MS : false),
});

export const sweepQuery = (id: string) =>
  queryOptions({
    queryKey: ["sweep", id],
    queryFn: ({ signal }) => unwrap(http.GET("/api/sweeps/{sweep_id}", { params: { path: { sweep_id: id } }, signal })),
    staleTime: 0,
    refetchInterval: ({ state }) => (state.data && !isAtWork(state.data) ? false : EVERY_MS),
  });

const at = (id: string) => ({ params: { path: { sweep_id: id } } });

export const pauseSweep = (id: string) => unwrap(http.POST("/api/sweeps/{sweep_id}/pause", at(id)));

export const resumeSweep = (id: string) => unwrap(http.POST("/api/sweeps/{sweep_id}/resume", at(id)));

export const cancelSweep = (id: string) => unwrap(http.POST("/api/sweeps/{sweep_id}/cancel", at(id)));

export const deleteSweep = (id: string) => unwrap(http.DELETE("/api/sweeps/{sweep_id}", at(id)));
