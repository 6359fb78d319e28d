import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Job, Schemas } from "../../api/client";
import { checkpointsQuery, deleteCheckpoint, pinCheckpoint } from "../../api/jobParts";
import { bytes } from "../../format/format";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { Menu } from "../../ui/Menu";

interface Props {
  job: Job;
  checkpoint: Schemas["Checkpoint"];
  onError: (error: unknown) => void;
}

/** Pin, unpin or delete a checkpoint. The service says why one that is needed stays. */
export function CheckpointMenu({ job, checkpoint: { name, is_pinned: isPinned, size_bytes: size }, onError }: Props) {
  const client = useQueryClient();
  const [isAsked, setAsked] = useState(false);
  const reload = () => client.invalidateQueries({ queryKey: checkpointsQuery(job.id).queryKey });
  async function setPinned(wanted: boolean) {
    onError(null);
    try {
      await pinCheckpoint(job.id, name, wanted);
    } catch (failure) {
      onError(failure);
    }
    await reload();
  }
  return (
    <>
      <Menu
        label={`Actions for ${name}`}
        items={[
          { label: isPinned ? "Unpin it" : "Pin it", run: () => void setPinned(!isPinned) },
          { label: "Delete the checkpoint…", danger: true, run: () => { setAsked(true); } },
        ]}
      />
      {isAsked && (
        <ConfirmDialog
          title={`Delete ${name}?`}
          confirm="Delete the checkpoint"
          keep="Keep it"
          onClose={() => { setAsked(false); }}
          action={async () => {
            await deleteCheckpoint(job.id, name);
            await reload();
          }}
        >
          <p>
            Its {bytes(size)} are removed from the disk, and {job.name} can no longer resume from it. This cannot be undone.
          </p>
        </ConfirmDialog>
      )}
    </>
  );
}
