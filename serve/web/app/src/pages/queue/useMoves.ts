import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { jobKeys, setPriority } from "../../api/jobs";
import { moveJob, queueQuery, type QueueEntry } from "../../api/queue";
import type { Move } from "./order";

interface Moves {
  /** Moves that the queue of the service may lack, in their order. */
  moves: Move[];
  /** What was moved last, or why it was not, in a sentence. */
  message: string;
  error: unknown;
  move: (move: Move, entry: QueueEntry) => Promise<void>;
}

/** Carries moves out one after another: shown at once, and taken back where the service refuses them. */
export function useMoves(): Moves {
  const client = useQueryClient();
  const [moves, setMoves] = useState<Move[]>([]);
  const [message, setMessage] = useState("");
  const [error, setError] = useState<unknown>(null);
  const before = useRef<Promise<void>>(Promise.resolve());

  async function move(wanted: Move, entry: QueueEntry) {
    setError(null);
    setMoves((all) => [...all, wanted]);
    // Requests that are under way together may arrive in another order, and the earlier move would win.
    before.current = before.current.then(() => send(wanted, entry));
    await before.current;
  }

  function drop(move: Move) {
    setMoves((all) => all.filter((other) => other !== move));
  }

  async function send(wanted: Move, entry: QueueEntry) {
    try {
      if (wanted.priority !== null) await setPriority(wanted.id, wanted.priority);
      const after = await moveJob(wanted.id, wanted.behind);
      const priority = wanted.priority === null ? "" : ` with priority ${String(wanted.priority)}`;
      setMessage(`${entry.name} is number ${String(after.queue_position ?? "")} in the queue${priority}.`);
    } catch (failure) {
      setError(failure);
      drop(wanted);
    }
    // Once the page has the queue with this move, showing it again would move its job past those that moved after it.
    await client.invalidateQueries({ queryKey: queueQuery.queryKey });
    drop(wanted);
    void client.invalidateQueries({ queryKey: jobKeys.lists });
  }
  return { moves, message, error, move };
}
