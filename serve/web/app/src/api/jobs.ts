/** Queries and changes of jobs. */
import { type InfiniteData, queryOptions, infiniteQueryOptions } from "@tanstack/react-query";
import { http, unwrap, type JobStatus, type Schemas } from "./client";
import { paged, pageQuery } from "./pages";

export type JobPage = Schemas["Page_Job_"];
export type JobPages = InfiniteData<JobPage, string | undefined>;

export const PAGE_SIZE = 50;

/** Filters of the list of jobs, as they are in the address. */
export interface JobFilter {
  statuses: JobStatus[];
  search: string;
}

export const jobKeys = {
  lists: ["jobs"] as const,
  list: (filter: JobFilter) => ["jobs", filter.statuses.join(), filter.search] as const,
  job: (id: string) => ["job", id] as const,
  part: (id: string, part: string) => ["job", id, part] as const,
};

export const jobListQuery = (filter: JobFilter) =>
  infiniteQueryOptions({
    queryKey: jobKeys.list(filter),
    ...paged,
    queryFn: ({ pageParam, signal }) => {
      const query = {
        ...pageQuery(PAGE_SIZE, pageParam),
        ...(filter.statuses.length ? { status: filter.statuses } : {}),
        ...(filter.search ? { search: filter.search } : {}),
      };
      return unwrap(http.GET("/api/training/jobs", { params: { query }, signal }));
    },
  });

export const jobQuery = (id: string) =>
  queryOptions({
    queryKey: jobKeys.job(id),
    queryFn: ({ signal }) =>
      unwrap(http.GET("/api/training/jobs/{job_id}", { params: { path: { job_id: id } }, signal })),
  });

const at = (id: string) => ({ params: { path: { job_id: id } } });

export const cancelJob = (id: string) => unwrap(http.POST("/api/training/jobs/{job_id}/cancel", at(id)));

export const pauseJob = (id: string) => unwrap(http.POST("/api/training/jobs/{job_id}/pause", at(id)));

export const resumeJob = (id: string, body: Partial<Schemas["Resume"]> = {}) =>
  unwrap(http.POST("/api/training/jobs/{job_id}/resume", { ...at(id), body: body as Schemas["Resume"] }));

/** Append datasets, by id, to those that the job trains on. */
export const appendFiles = (id: string, datasets: string[]) =>
  unwrap(http.POST("/api/training/jobs/{job_id}/append", { ...at(id), body: { datasets } }));

export const deleteJob = (id: string) => unwrap(http.DELETE("/api/training/jobs/{job_id}", at(id)));

export const setPriority = (id: string, priority: number) =>
  unwrap(http.PATCH("/api/training/jobs/{job_id}", { ...at(id), body: { priority } }));
