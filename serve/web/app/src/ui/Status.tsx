import type { Job } from "../api/client";
import { percent } from "../format/format";
import { lookOf, progressOf, type JobState, type StateLook } from "../format/status";

/** The state of a job: a glyph and a word, never a colour alone. */
export function StatusPill({ job }: { job: JobState }) {
  return <StatePill look={lookOf(job)} />;
}

/** A state as a glyph and a word. */
export function StatePill({ look }: { look: StateLook }) {
  return (
    <span className={`pill pill-${look.tone}`}>
      <span className="pill-glyph" aria-hidden="true">{look.glyph}</span>
      {look.label}
    </span>
  );
}

export function ProgressBar({ job, label }: { job: Pick<Job, "step" | "total_steps" | "status">; label: string }) {
  const done = progressOf(job) ?? 0;
  return (
    <div
      className={`bar bar-${job.status}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(done * 100)}
      aria-valuetext={percent(done)}
    >
      <i className="bar-done" style={{ width: `${String(done * 100)}%` }} />
    </div>
  );
}
