import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { diskQuery, pruneCheckpoints, type CheckpointRule } from "../../api/disk";
import { bytes, counted } from "../../format/format";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ErrorNote } from "../../ui/Notes";

/** Deletes checkpoints by a rule, after it has shown what the rule finds. */
export function CleanUpDialog({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const [days, setDays] = useState("30");
  const [keepsBest, setKeepsBest] = useState(true);
  const rule: Omit<CheckpointRule, "dry_run"> = { older_than_days: Number(days), keep_best: keepsBest };
  const looking = useMutation({ mutationFn: () => pruneCheckpoints({ ...rule, dry_run: true }) });
  const deleting = useMutation({
    mutationFn: () => pruneCheckpoints({ ...rule, dry_run: false }),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: diskQuery.queryKey });
      onClose();
    },
  });
  const found = looking.data;
  const num = found?.data?.length ?? 0;
  const change = (apply: () => void) => {
    apply();
    looking.reset();
  };
  const footer = (
    <>
      <Button onClick={onClose}>Keep them</Button>
      {found && num > 0 ? (
        <Button look="danger" disabled={deleting.isPending} onClick={() => { deleting.mutate(); }}>
          Delete {counted(num, "checkpoint")}
        </Button>
      ) : (
        <Button look="primary" disabled={days.trim() === "" || looking.isPending} onClick={() => { looking.mutate(); }}>
          Show what would be deleted
        </Button>
      )}
    </>
  );
  return (
    <Dialog title="Delete old checkpoints" onClose={onClose} footer={footer}>
      <label className="field">
        Saved more than this many days ago
        <input data-first type="number" min={0} step="any" value={days} onChange={(event) => { change(() => { setDays(event.target.value); }); }} />
      </label>
      <label className="check">
        <input type="checkbox" checked={keepsBest} onChange={(event) => { change(() => { setKeepsBest(event.target.checked); }); }} />
        Keep the best one of each job
      </label>
      <p className="muted small">Pinned checkpoints, the newest one of each job and those that are still needed always stay.</p>
      {found && (
        <p role="status">
          {num === 0 ? "No checkpoint would be deleted." : `${counted(num, "checkpoint")} with ${bytes(found.size_bytes)} would be deleted.`}{" "}
          {(found.kept?.length ?? 0) > 0 && `${counted(found.kept?.length ?? 0, "checkpoint")} of this age would stay.`}
        </p>
      )}
      {(looking.error ?? deleting.error) && <ErrorNote error={looking.error ?? deleting.error} />}
    </Dialog>
  );
}
