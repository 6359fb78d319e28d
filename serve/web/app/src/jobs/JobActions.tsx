import { lazy, Suspense, useState } from "react";
import type { Job } from "../api/client";
import { actionsOf } from "../format/status";
import { Menu, type MenuItem } from "../ui/Menu";

/** What the menu of a job opens. */
export type Asked = "cancel" | "pause" | "resume" | "prioritize" | "move" | "append" | "delete";

const JobDialog = lazy(() => import("./JobDialog"));

const LABELS: Record<Asked, string> = {
  resume: "Resume…",
  pause: "Pause…",
  prioritize: "Change the priority…",
  move: "Move to the front",
  append: "Append a dataset…",
  cancel: "Cancel the job…",
  delete: "Delete the job…",
};

/** The menu with everything that can be done with a job in its state. */
export function JobActions({ job, onDeleted }: { job: Job; onDeleted?: () => void }) {
  const [asked, setAsked] = useState<Asked | null>(null);
  const possible = actionsOf(job);
  const items: MenuItem[] = (Object.keys(LABELS) as Asked[])
    .filter((action) => possible.has(action))
    .map((action) => ({
      label: LABELS[action],
      danger: action === "cancel" || action === "delete",
      run: () => { setAsked(action); },
    }));
  if (possible.has("download")) {
    items.unshift({ label: "Download the model", run: () => { window.location.assign(modelAddress(job.id)); } });
  }
  if (items.length === 0) return null;
  return (
    <>
      <Menu label={`Actions for ${job.name}`} items={items} />
      {asked && (
        <Suspense fallback={null}>
          <JobDialog job={job} asked={asked} onClose={() => { setAsked(null); }} onDeleted={onDeleted} />
        </Suspense>
      )}
    </>
  );
}

export function modelAddress(id: string, checkpoint?: string): string {
  const query = checkpoint ? `?checkpoint=${encodeURIComponent(checkpoint)}` : "";
  return `/api/training/jobs/${id}/download/model${query}`;
}
