/** Moves within the queue. Jobs are ordered by priority first, so that a move ends within the jobs of one priority. */
import type { QueueEntry } from "../../api/queue";

type Entry = Pick<QueueEntry, "job_id" | "priority">;

export interface PriorityGroup<T extends Entry> {
  priority: number;
  entries: T[];
}

/** The queue in its order, divided by priority. */
export function byPriority<T extends Entry>(queue: T[]): PriorityGroup<T>[] {
  const groups: PriorityGroup<T>[] = [];
  for (const entry of queue) {
    const priority = entry.priority ?? 50;
    const last = groups.at(-1);
    if (last?.priority === priority) last.entries.push(entry);
    else groups.push({ priority, entries: [entry] });
  }
  return groups;
}

export interface Move {
  id: string;
  /** The job that it comes behind; `null` at the front of its priority. */
  behind: string | null;
  /** The priority that it gets, where that changes. */
  priority: number | null;
}

/** The move that puts a job where `target` is; `null` where that changes nothing. */
export function moveOnto<T extends Entry>(queue: T[], id: string, target: string): Move | null {
  const from = queue.findIndex((entry) => entry.job_id === id);
  const to = queue.findIndex((entry) => entry.job_id === target);
  const [moved, other] = [queue[from], queue[to]];
  if (!moved || !other || from === to) return null;
  const priority = other.priority ?? 50;
  const isSame = (moved.priority ?? 50) === priority;
  // Downwards, the others close up, and the job comes behind the one that it is dropped on.
  if (isSame && to > from) return { id, behind: other.job_id, priority: null };
  const before = queue[to - 1];
  const behind = before && (before.priority ?? 50) === priority ? before.job_id : null;
  return { id, behind, priority: isSame ? null : priority };
}

/** The move by one place, for the keyboard: only among the jobs of the same priority. */
export function moveBy<T extends Entry>(queue: T[], id: string, by: 1 | -1): Move | null {
  const from = queue.findIndex((entry) => entry.job_id === id);
  const [moved, other] = [queue[from], queue[from + by]];
  if (!moved || !other || (moved.priority ?? 50) !== (other.priority ?? 50)) return null;
  return moveOnto(queue, id, other.job_id);
}

/** The queue after a move; the same where the job, or the one that it comes behind, waits no more. */
export function moved<T extends Entry>(queue: T[], move: Move): T[] {
  const found = queue.find((entry) => entry.job_id === move.id);
  if (!found) return queue;
  const entry = move.priority === null ? found : { ...found, priority: move.priority };
  const rest = queue.filter((other) => other.job_id !== move.id);
  const priority = entry.priority ?? 50;
  const behind = rest.findIndex((other) => other.job_id === move.behind);
  if (move.behind !== null && behind < 0) return queue;
  const front = rest.findIndex((other) => (other.priority ?? 50) <= priority);
  const index = move.behind === null ? (front < 0 ? rest.length : front) : behind + 1;
  return rest.toSpliced(index, 0, entry);
}

/** The queue as it will be, to show moves before the service has made them. Positions count the jobs of all owners: the
 * places of the page stay the same, only the jobs in them change. */
export function withMoves(queue: QueueEntry[], moves: Move[]): QueueEntry[] {
  const places = queue.map((entry) => entry.position);
  return moves.reduce(moved, queue).map((entry, index) => ({ ...entry, position: places[index] ?? entry.position }));
}
