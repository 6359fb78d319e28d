import { useState } from "react";
import { modelListQuery, pruneModels, type ModelRule } from "../../api/models";
import { CleanUp } from "../../ui/CleanUp";

/** Deletes tuned models by a rule. */
export function CleanUpModels({ onClose }: { onClose: () => void }) {
  const [days, setDays] = useState("90");
  const [newest, setNewest] = useState("1");
  const [keepsBest, setKeepsBest] = useState(true);
  const rule = { older_than_days: Number(days), keep_newest: Number(newest), keep_best: keepsBest } satisfies Partial<ModelRule>;
  return (
    <CleanUp
      title="Delete old models"
      noun="model"
      fields={[
        { label: "Delivered more than this many days ago", value: days, set: setDays },
        { label: "How many of the newest stay, of each base model", value: newest, isWhole: true, set: setNewest },
      ]}
      best={{ label: "Keep the one with the lowest eval loss of each base model", keeps: keepsBest, set: setKeepsBest }}
      note="Jobs and their checkpoints stay, and so do models that are pinned, that are still needed, or whose job has a pinned checkpoint."
      prune={(isDry) => pruneModels({ ...rule, dry_run: isDry })}
      stale={modelListQuery.queryKey}
      onClose={onClose}
    />
  );
}
