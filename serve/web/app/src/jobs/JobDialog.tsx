import { cancelJob, deleteJob, pauseJob } from "../api/jobs";
import type { Job } from "../api/client";
import { moveJob } from "../api/queue";
import { ConfirmDialog } from "../ui/ConfirmDialog";
import type { Asked } from "./JobActions";
import { AppendDialog } from "./AppendDialog";
import { PriorityDialog } from "./PriorityDialog";
import ResumeDialog from "./ResumeDialog";
import { useChange } from "./useChange";

interface Props {
  job: Job;
  asked: Asked;
  onClose: () => void;
  onDeleted: (() => void) | undefined;
}

/** The question that belongs to an action. It names the job, and says what happens. */
export default function JobDialog({ job, asked, onClose, onDeleted }: Props) {
  const change = useChange(job);
  switch (asked) {
    case "cancel":
      return (
        <ConfirmDialog title={`Cancel ${job.name}?`} confirm="Cancel the job" keep="Keep it" onClose={onClose} action={() => change(cancelJob)}>
          <p>{job.status === "running" ? "It stops at the end of its step. " : ""}Its checkpoints are kept, and it can be resumed from them.</p>
        </ConfirmDialog>
      );
    case "pause":
      return (
        <ConfirmDialog title={`Pause ${job.name}?`} confirm="Pause the job" keep="Keep it running" onClose={onClose} action={() => change(pauseJob)}>
          <p>It finishes its step, saves a checkpoint and releases its devices. A resume continues from there.</p>
        </ConfirmDialog>
      );
    case "delete":
      return (
        <ConfirmDialog
          title={`Delete ${job.name}?`}
          confirm="Delete the job"
          keep="Keep it"
          onClose={onClose}
          action={async () => {
            await change(deleteJob);
            onDeleted?.();
          }}
        >
          <p>Its events, metrics, checkpoints, logs and models are removed. This cannot be undone. Its MLflow run stays.</p>
        </ConfirmDialog>
      );
    case "move":
      return (
        <ConfirmDialog title={`Move ${job.name} to the front?`} confirm="Move to the front" keep="Leave it" onClose={onClose} action={() => change((id) => moveJob(id, null))}>
          <p>It goes before all other queued jobs with the priority {job.priority}.</p>
        </ConfirmDialog>
      );
    case "resume":
      return <ResumeDialog job={job} checkpoint={undefined} onClose={onClose} />;
    case "append":
      return <AppendDialog job={job} onClose={onClose} />;
    case "prioritize":
      return <PriorityDialog job={job} onClose={onClose} />;
  }
}
