import type { Job } from "../../api/client";
import { duration, number } from "../../format/format";
import { methodOf, modelOf } from "../../jobs/facts";
import { Link } from "../../router/Link";
import { IconButton } from "../../ui/Button";
import { StatusPill } from "../../ui/Status";
import { TableHead } from "../../ui/TableHead";
import { styleOf } from "./chosen";

/** The compared jobs, each with the line that it has in the charts. */
export function RunList({ jobs, onRemove }: { jobs: Job[]; onRemove: (id: string) => void }) {
  return (
    <table className="table stack runs">
      <TableHead columns={["Job", "Status", "Loss", "Eval loss", "Ran for", { hidden: "Remove" }]} />
      <tbody>
        {jobs.map((job, index) => (
          <tr key={job.id}>
            <th scope="row">
              <span className="run-name">
                <Swatch index={index} />
                <span>
                  <Link to={`/jobs/${job.id}`}>{job.name}</Link>
                  <span className="muted small">{modelOf(job)} · {methodOf(job)}</span>
                </span>
              </span>
            </th>
            <td data-label="Status"><StatusPill job={job} /></td>
            <td data-label="Loss" className="numeric">{number(job.loss)}</td>
            <td data-label="Eval loss" className="numeric">{number(job.eval_loss)}</td>
            <td data-label="Ran for" className="numeric">{duration(job.run_time_s)}</td>
            <td className="actions">
              <IconButton label={`Remove ${job.name}`} icon="close" onClick={() => { onRemove(job.id); }} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The line of a run in the charts. */
export function Swatch({ index }: { index: number }) {
  const { color, dash } = styleOf(index);
  return (
    <svg className="swatch" viewBox="0 0 32 4" aria-hidden="true" style={{ color: `var(${color})` }}>
      <path d="M0 2h32" strokeDasharray={dash?.join(" ")} />
    </svg>
  );
}
