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
    <div className="results">
      <Values results={data} />
      <CutAnswers results={data} />
      <Needs job={job} results={data} />
      {measured(data).map(({ model, metric }) => (
        <Rows
          key={`${model.key} ${metric.metric}`}
          title={`${metric.metric}: ${titleOf(model)}`}
          metric={metric}
          isOpen={model === data.models.at(-1) && metric === model.metrics?.[0]}
        />
      ))}
    </div>
  );
}

function Values({ results }: { results: Results }) {
  return (
    <table className="table stack">
      <TableHead columns={["Metric", "Model", "Value", "95 % interval", "Rows", "Skipped", "Against base"]} />
      <tbody>
        {measured(results).map(({ model, metric }) => (
          <tr key={`${model.key} ${metric.metric}`}>
            <th scope="row">{metric.metric}</th>
            <td data-label="Model">{model.base ? titleOf(model) : `${titleOf(model)} (base)`}</td>
            <td data-label="Value" className="numeric">{number(metric.value)}</td>
            <td data-label="95 % interval" className="numeric">
              {typeof metric.low !== "number" ? "–" : `${number(metric.low)} to ${number(metric.high)}`}
            </td>
            <td data-label="Rows" className="numeric">{metric.num_rows}</td>
            <td data-label="Skipped">{skipped(metric) || "–"}</td>
            <td data-label="Against base">{verdict(results, model, metric) || "–"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Models with answers that reached the limit, which most metrics give less than they deserve. */
function CutAnswers({ results }: { results: Results }) {
  return results.models
    .filter((model) => model.num_cut_answers)
    .map((model) => (
      <p key={model.key} className="muted small">
        {number(model.num_cut_answers)} of {number(model.num_answers)} answers of {model.name} were cut off at generation.max_new_tokens.
      </p>
    ));
}

/** Every metric with every model, so that the models of a metric are side by side. */
function measured(results: Results): { model: Schemas["ModelResult"]; metric: Metric }[] {
  const names = [...new Set(results.models.flatMap((model) => (model.metrics ?? []).map(({ metric }) => metric)))];
  return names.flatMap((name) =>
    results.models.flatMap((model) => (model.metrics ?? []).filter(({ metric }) => metric === name).map((metric) => ({ model, metric }))),
  );
}

const titleOf = (model: Schemas["ModelResult"]): string => model.title ?? model.name;

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
  if (test?.is_comparable === false) return "not comparable, other tokens";
  if (typeof test?.difference !== "number") return "";
  const shown = `${test.difference > 0 ? "+" : ""}${number(test.difference)}`;
  if (typeof test.p_value !== "number") return shown;
  const p = `p ${test.p_value.toFixed(3)}`;
  if (test.p_value >= SIGNIFICANT || test.difference === 0) return `${shown}, not significant (${p})`;
  return `${shown}, ${test.difference < 0 === metric.is_lower_better ? "better" : "worse"} (${p})`;
}

function Rows({ title, metric, isOpen }: { title: string; metric: Metric; isOpen: boolean }) {
  const parts: [string, Scored[]][] = [["Worst rows", metric.worst ?? []], ["Best rows", metric.best ?? []]];
  if (!metric.worst?.length) return null;
  return (
    <details className="panel scored-rows" open={isOpen}>
      <summary>{title}</summary>
      {parts.map(([name, rows]) => (
        <div key={name}>
          <h3>{name}</h3>
          <ol className="answers">
            {rows.map((row) => (
              <li key={row.row}>
                <span className="muted small numeric">
                  Row {row.row}, {number(row.score)}
                </span>
                <div className="scored">
                  <p className="prompt">{row.question}</p>
                  {row.reference && row.reference !== row.question && <p className="muted small">Reference: {row.reference}</p>}
                  {typeof row.answer === "string" && (
                    <p className="answer">{row.answer.trim() || <span className="muted">(an empty answer)</span>}</p>
                  )}
                </div>
              </li>
            ))}
          </ol>
        </div>
      ))}
    </details>
  );
}
