import { useQueryClient } from "@tanstack/react-query";
import type { Job } from "../api/client";
import { jobKeys } from "../api/jobs";

/** The later of two states: events that came while the request was under way may have changed the job since. */
export function newer(before: Job | undefined, reply: Job): Job {
  return before && (before.last_seq ?? 0) > (reply.last_seq ?? 0) ? before : reply;
}

/** Runs a change and shows its result at once; the live stream brings the rest. */
export function useChange(job: Job): (call: (id: string) => Promise<unknown>) => Promise<void> {
  const client = useQueryClient();
  return async (call) => {
    const after = await call(job.id);
    if (after && typeof after === "object" && "status" in after) {
      client.setQueryData<Job>(jobKeys.job(job.id), (before) => newer(before, after as Job));
    }
    await Promise.all([
      client.invalidateQueries({ queryKey: jobKeys.lists }),
      client.invalidateQueries({ queryKey: ["queue"] }),
      client.invalidateQueries({ queryKey: jobKeys.part(job.id, "events") }),
    ]);
  };
}
