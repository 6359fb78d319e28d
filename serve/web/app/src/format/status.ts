/** How the states of a job look and what a user can do in each. */
import type { Job, JobStatus } from "../api/client";

export type Tone = "quiet" | "active" | "good" | "bad" | "warn";

export interface StateLook {
  glyph: string;
  label: string;
  tone: Tone;
}

const LOOKS: Record<JobStatus, StateLook> = {
  queued: { glyph: "○", label: "Queued", tone: "quiet" },
  pending: { glyph: "◔", label: "Starting", tone: "active" },
  initializing: { glyph: "◑", label: "Loading", tone: "active" },
  running: { glyph: "●", label: "Running", tone: "active" },
  pausing: { glyph: "‖", label: "Pausing", tone: "warn" },
  paused: { glyph: "‖", label: "Paused", tone: "warn" },
  cancelling: { glyph: "⊘", label: "Cancelling", tone: "quiet" },
  completed: { glyph: "✓", label: "Completed", tone: "good" },
  failed: { glyph: "✗", label: "Failed", tone: "bad" },
  cancelled: { glyph: "⊘", label: "Cancelled", tone: "quiet" },
};
const RECOVERING: StateLook = { glyph: "↻", label: "Recovering", tone: "warn" };

const TERMINAL = new Set<JobStatus>(["completed", "failed", "cancelled"]);
const STARTING = new Set<JobStatus>(["queued", "pending", "initializing"]);

export const isTerminal = (status: JobStatus): boolean => TERMINAL.has(status);

/** Groups of statuses that the list of jobs filters by. */
export const STATUS_GROUPS: { name: string; label: string; statuses: JobStatus[] }[] = [
  { name: "active", label: "Active", statuses: ["pending", "initializing", "running", "pausing", "cancelling"] },
  { name: "queued", label: "Queued", statuses: ["queued"] },
  { name: "paused", label: "Paused", statuses: ["paused"] },
  { name: "completed", label: "Completed", statuses: ["completed"] },
  { name: "failed", label: "Failed", statuses: ["failed"] },
  { name: "cancelled", label: "Cancelled", statuses: ["cancelled"] },
];

export type JobState = Pick<Job, "status"> & Partial<Pick<Job, "retries_used">>;

export function lookOf(job: JobState): StateLook {
  return (job.retries_used ?? 0) > 0 && STARTING.has(job.status) ? RECOVERING : LOOKS[job.status];
}

/** Share of the steps that are done, 0 to 1; `null` before the number of steps is known. */
export function progressOf(job: Pick<Job, "step" | "total_steps">): number | null {
  return job.total_steps ? Math.min(1, (job.step ?? 0) / job.total_steps) : null;
}

export type Action = "pause" | "resume" | "cancel" | "prioritize" | "move" | "append" | "delete" | "download";

/** What the service accepts for a job in this state. It checks again: the state may change in the meantime. */
export function actionsOf(job: Pick<Job, "status" | "model_id">): Set<Action> {
  const actions = new Set<Action>();
  const { status } = job;
  if (["queued", "pending", "initializing", "running"].includes(status)) actions.add("pause");
  if (["paused", "failed", "cancelled"].includes(status)) actions.add("resume");
  if (["queued", "paused"].includes(status)) actions.add("prioritize");
  if (status === "queued") actions.add("move");
  if (!["failed", "cancelled", "cancelling"].includes(status)) actions.add("append");
  if (TERMINAL.has(status)) actions.add("delete");
  else if (status !== "cancelling") actions.add("cancel");
  if (job.model_id) actions.add("download");
  return actions;
}
