import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { modelListQuery, pruneModels, type ModelRule } from "../../api/models";
import { bytes, counted } from "../../format/format";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ErrorNote } from "../../ui/Notes";

/** Deletes tuned models by a rule, after it has shown what the rule finds. */
export function CleanUpModels({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const [days, setDays] = useState("90");
  const [newest, setNewest] = useState("1");
  const [keepsBest, setKeepsBest] = useState(true);
  const rule = { older_than_days: Number(days), keep_newest: Number(newest), keep_best: keepsBest } satisfies Partial<ModelRule>;
  const looking = useMutation({ mutationFn: () => pruneModels({ ...rule, dry_run: true }) });
  const deleting = useMutation({
    mutationFn: () => pruneModels({ ...rule, dry_run: false }),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: modelListQuery.queryKey });
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
          Delete {counted(num, "model")}
        </Button>
      ) : (
        <Button look="primary" disabled={days.trim() === "" || newest.trim() === "" || looking.isPending} onClick={() => { looking.mutate(); }}>
          Show what would be deleted
        </Button>
      )}
    </>
  );
  return (
    <Dialog title="Delete old models" onClose={onClose} footer={footer}>
      <label className="field">
        Delivered more than this many days ago
        <input data-first type="number" min={0} step="any" value={days} onChange={(event) => { change(() => { setDays(event.target.value); }); }} />
      </label>
      <label className="field">
        How many of the newest stay, of each base model
        <input type="number" min={0} step={1} value={newest} onChange={(event) => { change(() => { setNewest(event.target.value); }); }} />
      </label>
      <label className="check">
        <input type="checkbox" checked={keepsBest} onChange={(event) => { change(() => { setKeepsBest(event.target.checked); }); }} />
        Keep the one with the lowest eval loss of each base model
      </label>
      <p className="muted small">Jobs and their checkpoints stay, and so do models that are still needed or whose job has a pinned checkpoint.</p>
      {found && (
        <p role="status">
          {num === 0 ? "No model would be deleted." : `${counted(num, "model")} with ${bytes(found.size_bytes)} would be deleted.`}{" "}
          {(found.kept?.length ?? 0) > 0 && `${counted(found.kept?.length ?? 0, "model")} of this age would stay.`}
        </p>
      )}
      {(looking.error ?? deleting.error) && <ErrorNote error={looking.error ?? deleting.error} />}
    </Dialog>
  );
}
