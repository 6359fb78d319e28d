import { queryOptions, useQuery } from "@tanstack/react-query";
import { http, unwrap, type Job, type Schemas } from "../../api/client";
import { count, duration, money, NONE, number } from "../../format/format";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { TableHead } from "../../ui/TableHead";
import { labelsOf } from "./labels";
import { Swatch } from "./RunList";

type Run = Schemas["ComparedRun"];
type Dataset = Schemas["ComparedDataset"];

/** Address of the report in one HTML file. */
export function reportAddress(ids: string[]): string {
  const query = new URLSearchParams([...ids.map((id) => ["job", id]), ["format", "html"]]);
  return `/api/training/compare?${query.toString()}`;
}

const comparisonQuery = (ids: string[]) =>
  queryOptions({
    queryKey: ["comparison", ...ids],
    queryFn: ({ signal }) => unwrap(http.GET("/api/training/compare", { params: { query: { job: ids } }, signal })),
  });

/** The results, which of them may be compared, and the data of each job. */
export function ComparedResults({ jobs }: { jobs: Job[] }) {
  if (jobs.length < 2) {
    return <EmptyState title="One job has nothing to compare with"><p>Add a second job to the comparison.</p></EmptyState>;
  }
  return <Results jobs={jobs} />;
}

function Results({ jobs }: { jobs: Job[] }) {
  const { data, error } = useQuery(comparisonQuery(jobs.map(({ id }) => id)));
  if (error) return <ErrorNote error={error} />;
  if (!data) return <Loading lines={4} />;
  const labels = labelsOf(jobs);
  return (
    <div className="compared-results">
      {(data.notes ?? []).map((note) => <p key={note} className="note">{note}</p>)}
      <div className="scroll" tabIndex={0} role="region" aria-label="Results">
        <table className="table">
          <TableHead columns={["Job", "Last", "Before training", "Best evaluation", "Group", "Tokens/s", "Time", "Cost"]} />
          <tbody>
            {data.runs.map((run, index) => <RunRow key={run.job_id} run={run} index={index} label={labels[index] ?? run.name} />)}
          </tbody>
        </table>
      </div>
      <p className="muted small">
        Last: mean of the training metric over the last twentieth of its points. Evaluations of one group are on the same
        rows in the same way; ★ is the best of its group.
      </p>
      <Evaluations metrics={data.evaluations ?? []} labels={labels} />
      <h2>Data</h2>
      <div className="scroll" tabIndex={0} role="region" aria-label="Data">
        <table className="table">
          <TableHead columns={["Dataset", "Rows", ...labels]} />
          <tbody>
            {(data.datasets ?? []).map((dataset) => (
              <tr key={dataset.dataset_id}>
                <th scope="row">
                  {dataset.name ?? "deleted"} <code className="small">{dataset.dataset_id}</code>
                  {dataset.same_as && <span className="muted small"> the same rows as {dataset.same_as}</span>}
                </th>
                <td className="numeric">{count(dataset.num_rows)}</td>
                {jobs.map((job) => <td key={job.id}>{purposeOf(dataset, job.id)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

/** What evaluations measured of the models of the jobs, on the same rows with the same settings. */
function Evaluations({ metrics, labels }: { metrics: Schemas["ComparedMetric"][]; labels: string[] }) {
  if (metrics.length === 0) return null;
  return (
    <>
      <h2>Evaluations</h2>
      <div className="scroll" tabIndex={0} role="region" aria-label="Evaluations">
        <table className="table">
          <TableHead columns={["Metric", "Base", ...labels]} />
          <tbody>
            {metrics.map((metric, index) => (
              <tr key={index}>
                <th scope="row">
                  {metric.metric} {metric.dataset_id && <code className="small">{metric.dataset_id}</code>}
                </th>
                <td className="numeric">{number(metric.base)}</td>
                {metric.values.map((value, place) => <td key={place} className="numeric">{measured(value)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function measured(value: Schemas["ComparedValue"] | null): string {
  if (!value) return NONE;
  const interval = typeof value.low === "number" ? ` (${number(value.low)} to ${number(value.high)})` : "";
  return `${number(value.value)}${interval}`;
}

function RunRow({ run, index, label }: { run: Run; index: number; label: string }) {
  const best = run.best ? `${number(run.best.value)} at step ${count(run.best.step)}` : NONE;
  return (
    <tr>
      <th scope="row"><Swatch index={index} /> {label}</th>
      <td className="numeric">{number(run.last)}</td>
      <td className="numeric">{number(run.best?.before_training)}</td>
      <td className="numeric">{best}{run.is_best && <span title="Best of its group"> ★</span>}</td>
      <td>{run.evaluation_group ? String.fromCharCode(64 + run.evaluation_group) : NONE}</td>
      <td className="numeric">{number(run.tokens_per_s)}</td>
      <td className="numeric">{duration(run.run_time_s)}</td>
      <td className="numeric">{run.cost ? money(run.cost.amount, run.cost.currency) : NONE}</td>
    </tr>
  );
}

function purposeOf(dataset: Dataset, id: string): string {
  const uses = [dataset.trained_by?.includes(id) && "trains", dataset.evaluated_by?.includes(id) && "evaluates"];
  return uses.filter((use) => use !== false && use !== undefined).join(", ");
}
