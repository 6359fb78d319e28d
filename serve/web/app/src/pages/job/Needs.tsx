import type { Job, Schemas } from "../../api/client";
import { bytes, duration, money, NONE } from "../../format/format";
import { TableHead } from "../../ui/TableHead";

/** What an evaluation took, beside what was estimated when it began. */
export function Needs({ job, results }: { job: Job; results: Schemas["EvaluationResults"] }) {
  const { cost } = job;
  const rows: [string, string, string][] = [
    ["Time, with loading", estimated(job.estimated_time_s, duration), duration(job.run_time_s)],
    ["Peak memory", estimated(results.estimated_memory_bytes, bytes), estimated(results.peak_memory_bytes, bytes)],
    ...(cost
      ? [["Cost", cost.estimated ? money(cost.estimated, cost.currency) : NONE, money(cost.amount, cost.currency)] as [string, string, string]]
      : []),
  ];
  return (
    <section className="panel" aria-labelledby="needs">
      <h3 id="needs">What it took</h3>
      <table className="table stack">
        <TableHead columns={["", "Estimated", "Measured"]} />
        <tbody>
          {rows.map(([name, before, after]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td data-label="Estimated" className="numeric">{before}</td>
              <td data-label="Measured" className="numeric">{after}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {typeof job.estimated_time_s !== "number" && (
        <p className="muted small">The time was not estimated: no evaluation of these base models had measured a speed, or tasks were measured.</p>
      )}
    </section>
  );
}

const estimated = (value: number | null | undefined, shown: (value: number) => string): string =>
  typeof value === "number" ? shown(value) : NONE;
