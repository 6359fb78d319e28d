import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { datasetKeys, moveDataset, type Dataset } from "../../api/datasets";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ErrorNote } from "../../ui/Notes";

/** Moves the files of a dataset to another bucket. The service names its buckets where there is none of this name. */
export function MoveDialog({ dataset, onClose }: { dataset: Dataset; onClose: () => void }) {
  const client = useQueryClient();
  const [bucket, setBucket] = useState(dataset.bucket);
  const moving = useMutation({
    mutationFn: () => moveDataset(dataset.id, bucket.trim()),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: datasetKeys.lists });
      await client.invalidateQueries({ queryKey: datasetKeys.one(dataset.id) });
    },
  });
  const isSame = bucket.trim() === dataset.bucket || !bucket.trim();
  const footer = (
    <>
      <Button onClick={onClose}>Leave it</Button>
      <Button look="primary" disabled={isSame || moving.isPending} onClick={() => { moving.mutate(undefined, { onSuccess: onClose }); }}>Move the dataset</Button>
    </>
  );
  return (
    <Dialog title={`Move ${dataset.name}`} onClose={onClose} footer={footer}>
      <label className="field">
        Bucket
        <input data-first value={bucket} maxLength={100} spellCheck={false} onChange={(event) => { setBucket(event.target.value); }} />
      </label>
      <p className="muted small">The dataset keeps its id, and jobs that use it continue to find it.</p>
      {moving.error && <ErrorNote error={moving.error} />}
    </Dialog>
  );
}
