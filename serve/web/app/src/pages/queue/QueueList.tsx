import { useState, type DragEvent } from "react";
import type { Queue, QueueEntry } from "../../api/queue";
import { counted } from "../../format/format";
import { Link } from "../../router/Link";
import { IconButton } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { ErrorNote } from "../../ui/Notes";
import { byPriority, moveBy, moveOnto, withMoves } from "./order";
import { useMoves } from "./useMoves";

/** The queue, next job first. Jobs are moved by dragging, or with the arrow buttons of their rows. */
export function QueueList({ queue }: { queue: Queue }) {
  const { moves, message, error, move } = useMoves();
  const [dragged, setDragged] = useState<string | null>(null);
  const entries = withMoves(queue.queued, moves);

  function drop(target: string) {
    const wanted = dragged === null ? null : moveOnto(entries, dragged, target);
    const entry = entries.find(({ job_id }) => job_id === dragged);
    setDragged(null);
    if (wanted && entry) void move(wanted, entry);
  }

  return (
    <>
      {error !== null && <ErrorNote error={error} />}
      <p className="visually-hidden" role="status">{message}</p>
      {byPriority(entries).map(({ priority, entries: own }) => (
        <section key={priority} aria-label={`Priority ${String(priority)}`} className="priority">
          <h3 className="muted small">Priority {priority}</h3>
          <ol className="bordered-list">
            {own.map((entry) => (
              <Row
                key={entry.job_id}
                entry={entry}
                all={entries}
                isDragged={entry.job_id === dragged}
                onDrag={() => { setDragged(entry.job_id); }}
                onDragEnd={() => { setDragged(null); }}
                onDrop={() => { drop(entry.job_id); }}
                onMove={(wanted) => void move(wanted, entry)}
              />
            ))}
          </ol>
        </section>
      ))}
      {queue.has_more && (
        <p className="muted small">
          {counted((queue.num_queued ?? 0) - entries.length, "more job waits", "more jobs wait")} behind these.
        </p>
      )}
    </>
  );
}

interface RowProps {
  entry: QueueEntry;
  all: QueueEntry[];
  isDragged: boolean;
  onDrag: () => void;
  onDragEnd: () => void;
  onDrop: () => void;
  onMove: (move: NonNullable<ReturnType<typeof moveBy>>) => void;
}

function Row({ entry, all, isDragged, onDrag, onDragEnd, onDrop, onMove }: RowProps) {
  const [isOver, setOver] = useState(false);
  const [up, down] = [moveBy(all, entry.job_id, -1), moveBy(all, entry.job_id, 1)];
  const over = (event: DragEvent) => {
    event.preventDefault();
    setOver(true);
  };
  return (
    <li
      draggable
      className={["queue-row", isDragged ? "is-dragged" : "", isOver ? "is-over" : ""].join(" ")}
      onDragStart={(event) => {
        event.dataTransfer.effectAllowed = "move";
        event.dataTransfer.setData("text/plain", entry.name);
        onDrag();
      }}
      onDragOver={over}
      onDragLeave={() => { setOver(false); }}
      onDragEnd={onDragEnd}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        onDrop();
      }}
    >
      <span className="grip" title="Drag to another place"><Icon name="grip" /></span>
      <span className="position numeric">{entry.position}</span>
      <span className="queue-text">
        <Link to={`/jobs/${entry.job_id}`}>{entry.name}</Link>
        <span className="muted small">{entry.waiting_for}</span>
      </span>
      <span className="arrows">
        <IconButton label={`Move ${entry.name} up`} icon="up" disabled={!up} onClick={() => { if (up) onMove(up); }} />
        <IconButton label={`Move ${entry.name} down`} icon="down" disabled={!down} onClick={() => { if (down) onMove(down); }} />
      </span>
    </li>
  );
}
