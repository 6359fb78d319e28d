import { useQuery } from "@tanstack/react-query";
import type { Schemas } from "../../api/client";
import { evaluationQuery } from "../../api/jobParts";
import { number } from "../../format/format";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { TableHead } from "../../ui/TableHead";
import type { TabProps } from "./JobPage";
import { Needs } from "./Needs";

type Results = Schemas["EvaluationResults"];
type Metric = Schemas["MetricResult"];
type Scored = Schemas["ScoredRow"];

const SIGNIFICANT = 0.05;

export default function ResultsTab({ job }: TabProps) {
  const isDone = job.status === "completed";
  const { data, error, refetch } = useQuery({ ...evaluationQuery(job.id), enabled: isDone });
  if (!isDone) {
    return (
      <EmptyState title="No results yet">
        <p>They are here once the evaluation has completed.</p>
      </EmptyState>
    );
  }
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (!data) return <Loading lines={3} />;
  return (
    <>
      <Values results={data} />
      <Needs job={job} results={data} />
      {data.models.flatMap((model) =>
        (model.metrics ?? []).map((metric) => (
          <Rows key={`${model.key} ${metric.metric}`} title={`${model.name}, ${metric.metric}`} metric={metric} />
        )),
      )}
    </>
  );
}

function Values({ results }: { results: Results }) {
  return (
    <table className="table stack">
      <TableHead columns={["Model", "Metric", "Value", "95 % interval", "Rows", "Skipped", "Against base"]} />
      <tbody>
        {results.models.flatMap((model) =>
          (model.metrics ?? []).map((metric) => (
            <tr key={`${model.key} ${metric.metric}`}>
              <th scope="row">{model.base ? model.name : `${model.name} (base)`}</th>
              <td data-label="Metric">{metric.metric}</td>
              <td data-label="Value" className="numeric">{number(metric.value)}</td>
              <td data-label="95 % interval" className="numeric">
                {typeof metric.low !== "number" ? "–" : `${number(metric.low)} to ${number(metric.high)}`}
              </td>
              <td data-label="Rows" className="numeric">{metric.num_rows}</td>
              <td data-label="Skipped">{skipped(metric) || "–"}</td>
              <td data-label="Against base">{verdict(results, model, metric) || "–"}</td>
            </tr>
          )),
        )}
      </tbody>
    </table>
  );
}

/** How many rows have no score, by reason. */
const skipped = (metric: Metric): string =>
  Object.entries(metric.skipped ?? {})
    .map(([reason, rows]) => `${String(rows)} ${reason}`)
    .join(", ");

/** The difference from the base model, and whether the paired test calls it better or worse. */
function verdict(results: Results, model: Schemas["ModelResult"], metric: Metric): string {
  const test = results.tests?.find(
    (each) => each.model === model.key && each.other === model.base && each.metric === metric.metric,
  );
  if (typeof test?.difference !== "number") return "";
  const shown = `${test.difference > 0 ? "+" : ""}${number(test.difference)}`;
  if (typeof test.p_value !== "number") return shown;
  const p = `p ${test.p_value.toFixed(3)}`;
  if (test.p_value >= SIGNIFICANT || test.difference === 0) return `${shown}, not significant (${p})`;
  return `${shown}, ${test.difference < 0 === metric.is_lower_better ? "better" : "worse"} (${p})`;
}

function Rows({ title, metric }: { title: string; metric: Metric }) {
  const parts: [string, Scored[]][] = [["Worst", metric.worst ?? []], ["Best", metric.best ?? []]];
  return (
    <section className="panel" aria-label={title}>
      <h3>{title}</h3>
      {parts.map(([name, rows]) => (
        <div key={name}>
          <h4>{name}</h4>
          <ol className="answers">
            {rows.map((row) => (
              <li key={row.row}>
                <span className="muted small numeric">
                  Row {row.row}, {number(row.score)}
                </span>
                <p className="prompt">{row.question}</p>
                {row.reference && row.reference !== row.question && <p className="muted small">Reference: {row.reference}</p>}
                {typeof row.answer === "string" && <p className="answer">{row.answer || <span className="muted">(an empty answer)</span>}</p>}
              </li>
            ))}
          </ol>
        </div>
      ))}
    </section>
  );
}
