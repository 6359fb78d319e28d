import { useInfiniteQuery } from "@tanstack/react-query";
import { jobListQuery } from "../../api/jobs";
import { recordsOf } from "../../api/pages";
import { ago } from "../../format/format";
import { lookOf } from "../../format/status";
import { MAX_COMPARED } from "./chosen";

const NO_FILTER = { statuses: [], search: "" };

/** A list of the newest jobs that have begun, to add one of them. */
export function AddJob({ chosen, onAdd }: { chosen: string[]; onAdd: (id: string) => void }) {
  const { data, dataUpdatedAt } = useInfiniteQuery(jobListQuery(NO_FILTER));
  const jobs = recordsOf(data).filter((job) => (job.step ?? 0) > 0 && !chosen.includes(job.id));
  const isFull = chosen.length >= MAX_COMPARED;
  return (
    <select
      className="add-job"
      aria-label="Add a job to the comparison"
      value=""
      disabled={isFull || jobs.length === 0}
      onChange={(event) => { onAdd(event.target.value); }}
    >
      <option value="">{isFull ? `At most ${String(MAX_COMPARED)} jobs` : "Add a job…"}</option>
      {jobs.map((job) => (
        <option key={job.id} value={job.id}>
          {lookOf(job).glyph} {job.name}, {ago(job.created_at, dataUpdatedAt)}
        </option>
      ))}
    </select>
  );
}
