import type { Schemas } from "../../api/client";
import { about, count, counted, number, percent } from "../../format/format";
import { progressOf } from "../../format/status";
import { Link } from "../../router/Link";
import { ProgressBar, StatusPill } from "../../ui/Status";

type RunningJob = Schemas["RunningEntry"];

/** The jobs that hold devices, or are about to get them. */
export function Running({ jobs }: { jobs: RunningJob[] }) {
  return (
    <ul className="running">
      {jobs.map((job) => (
        <li key={job.job_id} className="panel">
          <div className="running-head">
            <h3><Link to={`/jobs/${job.job_id}`}>{job.name}</Link></h3>
            <StatusPill job={job} />
          </div>
          <ProgressBar job={job} label={`Progress of ${job.name}`} />
          <p className="small muted numeric">{factsOf(job).join(" · ")}</p>
        </li>
      ))}
    </ul>
  );
}

function factsOf(job: RunningJob): string[] {
  const steps = job.total_steps ? `${count(job.step)} of ${count(job.total_steps)} steps, ${percent(progressOf(job))}` : "";
  return [
    devicesOf(job),
    steps,
    job.loss === null || job.loss === undefined ? "" : `loss ${number(job.loss)}`,
    job.eta_s === null || job.eta_s === undefined ? "" : `about ${about(job.eta_s)} left`,
    `priority ${String(job.priority ?? 50)}`,
  ].filter(Boolean);
}

function devicesOf(job: RunningJob): string {
  if (job.gpus) return counted(job.gpus, "GPU");
  return job.cpus ? counted(job.cpus, "CPU core") : "no devices any more";
}
