import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { Job } from "../api/client";
import { setPriority } from "../api/jobs";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { ErrorNote } from "../ui/Notes";
import { useChange } from "./useChange";

export function PriorityDialog({ job, onClose }: { job: Job; onClose: () => void }) {
  const [priority, setValue] = useState(String(job.priority ?? 50));
  const change = useChange(job);
  const saving = useMutation({ mutationFn: () => change((id) => setPriority(id, Number(priority))) });
  const save = () => { saving.mutate(undefined, { onSuccess: onClose }); };
  const canSave = priority.trim() !== "" && !saving.isPending;
  const footer = (
    <>
      <Button onClick={onClose}>Leave it</Button>
      <Button look="primary" onClick={save} disabled={!canSave}>Set the priority</Button>
    </>
  );
  return (
    <Dialog title={`Priority of ${job.name}`} onClose={onClose} footer={footer}>
      <label className="field">
        Priority, 0 to 100
        <input
          type="number"
          min={0}
          max={100}
          step={1}
          value={priority}
          onChange={(event) => { setValue(event.target.value); }}
          onKeyDown={(event) => { if (event.key === "Enter" && canSave) save(); }}
        />
      </label>
      <p className="muted small">Jobs with a higher priority start first. Jobs with the same priority start in the order of the queue.</p>
      {saving.error && <ErrorNote error={saving.error} />}
    </Dialog>
  );
}
