import { useQuery } from "@tanstack/react-query";
import { Fragment, useState } from "react";
import { useNow } from "../../app/useNow";
import type { Job, Schemas } from "../../api/client";
import { seriesQuery } from "../../api/series";
import { ago, about, clock, count, duration, money, number, percent } from "../../format/format";
import { actionsOf, isTerminal, progressOf } from "../../format/status";
import { JobActions, modelAddress } from "../../jobs/JobActions";
import { isTraining, methodOf, modelOf } from "../../jobs/facts";
import { ResumeButton } from "../../jobs/ResumeButton";
import { Link } from "../../router/Link";
import { navigateFrom, usePath } from "../../router/router";
import { Icon } from "../../ui/Icon";
import { ProgressBar, StatusPill } from "../../ui/Status";
import { PauseButton } from "./PauseButton";

const PHASES: Record<string, string> = {
  loading: "loading the model",
  evaluating: "evaluating",
  saving: "saving a checkpoint",
  delivering: "delivering the model",
};

export function JobHead({ job }: { job: Job }) {
  const [now] = useState(() => Date.now());
  return (
    <>
      <Link to="/" className="crumb small">
        <Icon name="back" /> Jobs
      </Link>
      <div className="page-head job-head">
        <div className="job-title">
          <h1>{job.name}</h1>
          <StatusPill job={job} />
          <p className="muted small">
            {modelOf(job)} · {methodOf(job)} · submitted {ago(job.created_at, now)}
            {job.sweep_id && <> · <Link to={`/sweeps/${job.sweep_id}`}>trial of a sweep</Link></>}
          </p>
        </div>
        <Actions job={job} />
      </div>
      {job.status !== "failed" && <p className="job-message">{job.message}</p>}
      <Chain job={job} />
      <Progress job={job} />
      <Cards job={job} />
    </>
  );
}

/** The jobs before and after this one in its chain. */
function Chain({ job: { parents = [], children = [] } }: { job: Job }) {
  if (parents.length === 0 && children.length === 0) return null;
  return (
    <p className="small muted job-chain">
      {parents.length > 0 && <span>After <ChainLinks jobs={parents} /></span>}
      {children.length > 0 && <span>Followed by <ChainLinks jobs={children} /></span>}
    </p>
  );
}

function ChainLinks({ jobs }: { jobs: Schemas["ChainedJob"][] }) {
  return jobs.map((each, place) => (
    <Fragment key={each.job_id}>
      {place > 0 && " "}
      <Link to={`/jobs/${each.job_id}`}>{each.name}</Link> <StatusPill job={each} />
    </Fragment>
  ));
}

function Actions({ job }: { job: Job }) {
  const possible = actionsOf(job);
  const path = usePath();
  return (
    <div className="actions">
      {possible.has("download") && (
        <a className="button button-primary" href={modelAddress(job.id)} download>
          <Icon name="download" /> Download the model
        </a>
      )}
      {possible.has("download") && (
        <Link className="button" to={`/evaluate?model=${encodeURIComponent(`job:${job.id}`)}`}>Evaluate</Link>
      )}
      {possible.has("resume") && job.status !== "failed" && <ResumeButton job={job} />}
      {possible.has("pause") && <PauseButton job={job} />}
      <JobActions job={job} onDeleted={() => { navigateFrom(path, "/"); }} />
    </div>
  );
}

function Progress({ job }: { job: Job }) {
  if (!job.total_steps || isTerminal(job.status)) return null;
  const phase = PHASES[job.phase ?? ""];
  const files = job.num_files && job.num_files > 1 && job.file ? `file ${String(job.file)} of ${String(job.num_files)}` : "";
  const facts = [
    `${count(job.step)} of ${count(job.total_steps)} steps`,
    percent(progressOf(job)),
    job.epoch ? `epoch ${number(job.epoch, 3)}` : "",
    files,
    phase ?? "",
  ].filter(Boolean);
  return (
    <div className="job-progress">
      <ProgressBar job={job} label={`Progress of ${job.name}`} />
      <p className="small muted numeric">
        <span>{facts.join(" · ")}</span>
        <Eta job={job} />
      </p>
    </div>
  );
}

function Eta({ job }: { job: Job }) {
  const isRunning = job.status === "running" && typeof job.eta_s === "number";
  const now = useNow(10_000, isRunning);
  if (!isRunning || typeof job.eta_s !== "number") return null;
  return (
    <span>
      about {about(job.eta_s)} left, until {clock(now + job.eta_s * 1000).slice(0, 5)}
    </span>
  );
}

function Cards({ job }: { job: Job }) {
  const { data: series } = useQuery({ ...seriesQuery(job.id), enabled: (job.step ?? 0) > 0 });
  const last = (name: string) => series?.[name]?.values.at(-1);
  const ofTraining = [
    { label: "Loss", value: number(job.loss) },
    { label: "Eval loss", value: number(job.eval_loss) },
    { label: "Learning rate", value: number(last("learning_rate")) },
    { label: "Tokens/s", value: number(last("tokens_per_s"), 3) },
  ];
  const cards = [
    ...(isTraining(job) ? ofTraining : []),
    { label: "Ran for", value: duration(job.run_time_s) },
    { label: "Attempts", value: count(job.attempt) },
    ...(job.cost ? [{ label: "Cost", value: money(job.cost.amount, job.cost.currency) }] : []),
  ];
  return (
    <dl className="cards">
      {cards.map(({ label, value }) => (
        <div key={label} className="card">
          <dt>{label}</dt>
          <dd className="numeric">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
