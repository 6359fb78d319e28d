import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { contentAddress, datasetKeys, deleteDataset, type Dataset } from "../../api/datasets";
import { navigate } from "../../router/router";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { Menu } from "../../ui/Menu";
import { MoveDialog } from "./MoveDialog";
import { ShareDialog } from "./ShareDialog";

/** What can be done with a dataset. */
export function DatasetMenu({ dataset, onDeleted }: { dataset: Dataset; onDeleted?: () => void }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<"share" | "move" | "delete" | null>(null);
  const close = () => { setAsked(null); };
  return (
    <>
      <Menu
        label={`Actions for ${dataset.name}`}
        items={[
          { label: "Train on it", run: () => { navigate(`/new?dataset=${dataset.id}`); } },
          { label: "Download the file", run: () => { window.location.assign(contentAddress(dataset.id)); } },
          { label: "Share a link…", run: () => { setAsked("share"); } },
          { label: "Move to another bucket…", run: () => { setAsked("move"); } },
          { label: "Delete the dataset…", danger: true, run: () => { setAsked("delete"); } },
        ]}
      />
      {asked === "share" && <ShareDialog dataset={dataset} onClose={close} />}
      {asked === "move" && <MoveDialog dataset={dataset} onClose={close} />}
      {asked === "delete" && (
        <ConfirmDialog
          title={`Delete ${dataset.name}?`}
          confirm="Delete the dataset"
          keep="Keep it"
          onClose={close}
          action={async () => {
            await deleteDataset(dataset.id);
            await client.invalidateQueries({ queryKey: datasetKeys.lists });
            onDeleted?.();
          }}
        >
          <p>The file and its {dataset.num_rows} rows are removed. Jobs that were trained on it stay, and cannot be resumed.</p>
        </ConfirmDialog>
      )}
    </>
  );
}
