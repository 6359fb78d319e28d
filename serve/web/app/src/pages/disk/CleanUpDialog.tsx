import { useState } from "react";
import { diskQuery, pruneCheckpoints, type CheckpointRule } from "../../api/disk";
import { CleanUp } from "../../ui/CleanUp";

/** Deletes checkpoints by a rule. */
export function CleanUpDialog({ onClose }: { onClose: () => void }) {
  const [days, setDays] = useState("30");
  const [keepsBest, setKeepsBest] = useState(true);
  const rule: Omit<CheckpointRule, "dry_run"> = { older_than_days: Number(days), keep_best: keepsBest };
  return (
    <CleanUp
      title="Delete old checkpoints"
      noun="checkpoint"
      fields={[{ label: "Saved more than this many days ago", value: days, set: setDays }]}
      best={{ label: "Keep the best one of each job", keeps: keepsBest, set: setKeepsBest }}
      note="Pinned checkpoints, the newest one of each job and those that are still needed always stay."
      prune={(isDry) => pruneCheckpoints({ ...rule, dry_run: isDry })}
      stale={diskQuery.queryKey}
      onClose={onClose}
    />
  );
}
