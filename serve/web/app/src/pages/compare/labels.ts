import type { Job } from "../../api/client";

/** The names of the jobs; with their ids where several have the same name. */
export function labelsOf(jobs: Pick<Job, "id" | "name">[]): string[] {
  return jobs.map(({ id, name }) => (jobs.filter((job) => job.name === name).length > 1 ? `${name} (${id})` : name));
}
