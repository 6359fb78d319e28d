import { useState } from "react";
import type { Job } from "../../api/client";
import { useShortcuts } from "../../app/keys";
import { navigate } from "../../router/router";

/** Keys of the list; returns the id of the row that they act on. */
export function useListKeys(jobs: Job[], mark: (id: string) => void, compare: () => void): string | null {
  const [current, setCurrent] = useState<string | null>(null);
  const move = (by: number) => {
    const index = jobs.findIndex((job) => job.id === current);
    const next = jobs[Math.max(0, Math.min(jobs.length - 1, index < 0 ? 0 : index + by))];
    if (!next) return;
    setCurrent(next.id);
    document.getElementById(`row-${next.id}`)?.scrollIntoView({ block: "nearest" });
  };
  useShortcuts([
    { keys: "/", label: "Search", run: () => document.getElementById("job-search")?.focus() },
    { keys: "j", label: "Next job", run: () => { move(1); } },
    { keys: "k", label: "Previous job", run: () => { move(-1); } },
    { keys: "Enter", label: "Open the job", run: () => { if (current) navigate(`/jobs/${current}`); } },
    { keys: " ", label: "Mark the job for a comparison", run: () => { if (current) mark(current); } },
    { keys: "c", label: "Compare the marked jobs", run: compare },
  ]);
  return current;
}
