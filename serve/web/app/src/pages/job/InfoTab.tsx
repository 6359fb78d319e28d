import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Schemas } from "../../api/client";
import { attemptsQuery, infoQuery } from "../../api/jobParts";
import { count, dateTime, duration, money } from "../../format/format";
import { Link } from "../../router/Link";
import { Outside } from "../../ui/Outside";
import { TableHead } from "../../ui/TableHead";
import type { TabProps } from "./JobPage";

export default function InfoTab({ job }: TabProps) {
  const { data: info } = useQuery(infoQuery);
  const { data: attempts = [] } = useQuery(attemptsQuery(job.id));
  const facts: [string, ReactNode][] = [
    ["Job", <code key="id">{job.id}</code>],
    ["Owner", job.owner],
    ...(job.sweep_id ? [["Sweep", <Link key="sweep" to={`/sweeps/${job.sweep_id}`}>{job.sweep_id}</Link>] as [string, ReactNode]] : []),
    ["Submitted", dateTime(job.created_at)],
    ["Started", dateTime(job.started_at)],
    ["Ended", dateTime(job.finished_at)],
    ["Time of all attempts", duration(job.run_time_s)],
    ["Cost", job.cost ? <CostFacts key="cost" cost={job.cost} /> : "–"],
    ["Retries used", count(job.retries_used)],
    ["Reason", job.reason ?? "–"],
    ["Tuned model", job.model_id ? <code key="model">{job.model_id}</code> : "–"],
    ["MLflow", job.mlflow_url ? <Outside key="mlflow" to={job.mlflow_url}>The run in MLflow</Outside> : "Not recorded yet"],
  ];
  if (info) facts.push(["Ray", <Outside key="ray" to={info.dashboard_url}>Ray dashboard</Outside>]);
  if (info?.dashboard_token_file) {
    facts.push(["Token of the dashboard", <>in the file <code>{info.dashboard_token_file}</code></>]);
  }
  return (
    <>
      <dl className="facts panel">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt className="muted">{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {attempts.length > 0 && <Attempts attempts={attempts} />}
    </>
  );
}

/** What the job has cost; while it holds devices, also what it costs per hour and at its last step. */
function CostFacts({ cost }: { cost: Schemas["JobCost"] }) {
  const more = [
    Number(cost.rate_per_hour) ? `${money(cost.rate_per_hour, cost.currency)} per hour` : "",
    cost.expected ? `about ${money(cost.expected, cost.currency)} at the last step` : "",
  ].filter(Boolean);
  return (
    <>
      {money(cost.amount, cost.currency)} {more.length > 0 && <span className="muted">({more.join(", ")})</span>}
    </>
  );
}

function Attempts({ attempts }: { attempts: Schemas["Attempt"][] }) {
  return (
    <>
      <h2 className="section">Attempts</h2>
      <table className="table stack">
        <TableHead columns={["Attempt", "From", "Devices", "Started", "Took", "Result"]} />
        <tbody>
          {attempts.map((attempt) => (
            <tr key={attempt.number}>
              <th scope="row" className="numeric">{attempt.number}</th>
              <td data-label="From">{attempt.resumed_from_step ? `step ${String(attempt.resumed_from_step)}` : "the base model"}</td>
              <td data-label="Devices">{attempt.gpus ? `${String(attempt.gpus)} GPU` : `${String(attempt.cpus)} CPU`}</td>
              <td data-label="Started">{dateTime(attempt.created_at)}</td>
              <td data-label="Took">{attempt.ended_at ? took(attempt) : "still running"}</td>
              <td data-label="Result">{attempt.message ?? "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function took(attempt: Schemas["Attempt"]): string {
  return duration((Date.parse(attempt.ended_at ?? "") - Date.parse(attempt.created_at)) / 1000);
}
