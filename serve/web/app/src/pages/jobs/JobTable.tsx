import type { Job } from "../../api/client";
import type { Sparks } from "../../api/series";
import { TableHead } from "../../ui/TableHead";
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
      <TableHead columns={[{ hidden: "Mark" }, "Job", "Status", "Progress", "Loss", "Time", { hidden: "Actions" }]} />
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
