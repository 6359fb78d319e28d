import type { Job } from "../../api/client";
import type { Sparks } from "../../api/series";
import { JobRow } from "./JobRow";

interface Props {
  jobs: Job[];
  sparks: Sparks;
  marked: string[];
  onMark: (id: string) => void;
  current: string | null;
}

/** The jobs, newest first. On narrow screens each row is a card. */
export function JobTable({ jobs, sparks, marked, onMark, current }: Props) {
  return (
    <table className="table jobs">
      <thead>
        <tr>
          <th scope="col"><span className="visually-hidden">Mark</span></th>
          <th scope="col">Job</th>
          <th scope="col">Status</th>
          <th scope="col">Progress</th>
          <th scope="col">Loss</th>
          <th scope="col">Time</th>
          <th scope="col"><span className="visually-hidden">Actions</span></th>
        </tr>
      </thead>
      <tbody>
        {jobs.map((job) => (
          <JobRow
            key={job.id}
            job={job}
            spark={sparks[job.id]}
            isMarked={marked.includes(job.id)}
            isCurrent={job.id === current}
            onMark={() => { onMark(job.id); }}
          />
        ))}
      </tbody>
    </table>
  );
}
