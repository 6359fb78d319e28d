import { memo } from "react";
import type { Job } from "../../api/client";
import type { Sparks } from "../../api/series";
import { about, ago, count, duration, number, percent } from "../../format/format";
import { isTerminal, progressOf } from "../../format/status";
import { JobActions } from "../../jobs/JobActions";
import { methodOf, modelOf } from "../../jobs/facts";
import { Link } from "../../router/Link";
import { Sparkline } from "../../ui/Sparkline";
import { ProgressBar, StatusPill } from "../../ui/Status";

interface Props {
  job: Job;
  spark: Sparks[string] | undefined;
  isMarked: boolean;
  isCurrent: boolean;
  onMark: () => void;
}

export const JobRow = memo(function JobRow({ job, spark, isMarked, isCurrent, onMark }: Props) {
  return (
    <tr id={`row-${job.id}`} className={isCurrent ? "row-current" : undefined}>
      <td className="cell-mark">
        <input type="checkbox" checked={isMarked} onChange={onMark} aria-label={`Mark ${job.name} for a comparison`} />
      </td>
      <th scope="row" className="cell-name">
        <Link to={`/jobs/${job.id}`}>{job.name}</Link>
        <span className="muted small">{modelOf(job)} · {methodOf(job)}</span>
      </th>
      <td className="cell-status"><StatusPill job={job} /></td>
      <td className="cell-progress"><Progress job={job} /></td>
      <td className="cell-loss numeric">
        <span>{number(job.loss)}</span>
        {spark && <Sparkline steps={spark.steps} values={spark.values} />}
      </td>
      <td className="cell-time small"><Time job={job} /></td>
      <td className="cell-actions"><JobActions job={job} /></td>
    </tr>
  );
}, isSameRow);

function isSameRow(before: Props, after: Props): boolean {
  return (
    before.job === after.job &&
    before.spark === after.spark &&
    before.isMarked === after.isMarked &&
    before.isCurrent === after.isCurrent
  );
}

function Progress({ job }: { job: Job }) {
  if (job.status === "queued") return <Waiting job={job} />;
  if (job.status === "failed") return <span className="clamp small">{job.message}</span>;
  if (!job.total_steps) return <span className="muted">{isTerminal(job.status) ? "No step" : "Not started"}</span>;
  return (
    <>
      <ProgressBar job={job} label={`Progress of ${job.name}`} />
      <span className="small muted numeric">
        {count(job.step)} of {count(job.total_steps)} steps, {percent(progressOf(job))}
      </span>
    </>
  );
}

function Waiting({ job }: { job: Job }) {
  return (
    <span className="small clamp">
      <b className="numeric">{job.queue_position ? `No. ${String(job.queue_position)}` : "In the queue"}</b>{" "}
      {job.waiting_for}
    </span>
  );
}

function Time({ job }: { job: Job }) {
  if (job.status === "running" && job.eta_s !== null && job.eta_s !== undefined) return <>about {about(job.eta_s)} left</>;
  const ran = job.run_time_s ? `ran ${duration(job.run_time_s)}` : "";
  const since = job.finished_at ? ago(job.finished_at) : `submitted ${ago(job.created_at)}`;
  return (
    <>
      {ran && <span>{ran}</span>}
      <span className="muted">{since}</span>
    </>
  );
}
