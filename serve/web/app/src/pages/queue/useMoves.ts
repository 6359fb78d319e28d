import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { jobKeys, setPriority } from "../../api/jobs";
import { moveJob, queueQuery, type QueueEntry } from "../../api/queue";
import { moved, type Move } from "./order";

interface Moves {
  /** What was moved last, or why it was not, in a sentence. */
  message: string;
  error: unknown;
  move: (move: Move, entry: QueueEntry) => Promise<void>;
}

/** Carries moves out one after another: shown at once, and taken back where the service refuses them. */
export function useMoves(): Moves {
  const client = useQueryClient();
  const [message, setMessage] = useState("");

  const [error, setError] = useState<unknown>(null);
  const waiting = useRef(0);
  const before = useRef<Promise<void>>(Promise.resolve());

  async function move(wanted: Move, entry: QueueEntry) {
    setError(null);
    waiting.current += 1;
    await client.cancelQueries({ queryKey: queueQuery.queryKey });
    client.setQueryData(queueQuery.queryKey, (queue) => queue && { ...queue, queued: renumbered(moved(queue.queued, wanted)) });
    // Requests that are under way together may arrive in another order, and the earlier move would win.
    before.current = before.current.then(() => send(wanted, entry));
    await before.current;
  }

  async function send(wanted: Move, entry: QueueEntry) {
    try {
      if (wanted.priority !== null) await setPriority(wanted.id, wanted.priority);
      const after = await moveJob(wanted.id, wanted.behind);
      const priority = wanted.priority === null ? "" : ` with priority ${String(wanted.priority)}`;
      setMessage(`${entry.name} is number ${String(after.queue_position ?? "")} in the queue${priority}.`);
    } catch (failure) {
      setError(failure);
    }
    waiting.current -= 1;
    // The queue of the service lacks the moves that are still to be sent.
    if (waiting.current > 0) return;
    await client.invalidateQueries({ queryKey: queueQuery.queryKey });
    void client.invalidateQueries({ queryKey: jobKeys.lists });
  }
  return { message, error, move };
}

/** Positions count the jobs of all owners: the places of the page stay the same, only the jobs in them change. */
function renumbered(queue: QueueEntry[]): QueueEntry[] {
  const places = queue.map((entry) => entry.position).sort((a, b) => a - b);
  return queue.map((entry, index) => ({ ...entry, position: places[index] ?? entry.position }));
}
