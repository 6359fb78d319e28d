import type { Job } from "../../api/client";
import { differences, shown } from "../../config/configTree";
import { configOf } from "../../jobs/facts";
import { EmptyState } from "../../ui/Notes";
import { labelsOf } from "./labels";
import { Swatch } from "./RunList";

/** The settings in which the jobs differ. */
export function ConfigDifference({ jobs }: { jobs: Job[] }) {
  if (jobs.length < 2) {
    return <EmptyState title="One job has no differences"><p>Add a second job to the comparison.</p></EmptyState>;
  }
  const found = differences(jobs.map(configOf)).filter(({ field }) => field !== "name");
  if (found.length === 0) {
    return <EmptyState title="The configs are the same"><p>The jobs differ in nothing but their names.</p></EmptyState>;
  }
  const labels = labelsOf(jobs);
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Settings that differ">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">Setting</th>
            {jobs.map((job, index) => (
              <th key={job.id} scope="col">
                <Swatch index={index} /> {labels[index]}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {found.map(({ field, values }) => (
            <tr key={field}>
              <th scope="row"><code>{field}</code></th>
              {values.map((value, index) => (
                <td key={index}><code>{shown(value)}</code></td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
