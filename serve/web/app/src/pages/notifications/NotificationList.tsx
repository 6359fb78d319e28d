import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import {
  markAllRead,
  markRead,
  notificationKeys,
  notificationListQuery,
  type Notification,
  type NotificationFilter,
} from "../../api/notifications";
import { ago, counted, dateTime } from "../../format/format";
import { Link } from "../../router/Link";
import { useQueryState } from "../../router/router";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { OlderRecords } from "../../ui/OlderRecords";
import { filterOf, KIND_NAMES, KINDS } from "./kinds";

export function NotificationList() {
  const [query] = useQueryState();
  const filter = filterOf(query);
  const list = useInfiniteQuery(notificationListQuery(filter));
  const { error, run } = useReading();
  const found = list.data?.pages.flatMap((page) => page.data) ?? [];
  const unread = list.data?.pages[0]?.num_unread ?? 0;
  const newest = found[0];
  return (
    <div className="parts">
      <div className="notification-head">
        <Filters filter={filter} />
        {unread > 0 && <span className="muted">{counted(unread, "unread", "unread")}</span>}
        {unread > 0 && newest && !filter.kind && (
          <Button onClick={() => void run(() => markAllRead(newest.id))}>Mark all as read</Button>
        )}
      </div>
      {list.isPending && <Loading lines={6} />}
      {list.isError && <ErrorNote error={list.error} retry={() => void list.refetch()} />}
      {error !== null && <ErrorNote error={error} />}
      {list.isSuccess && found.length === 0 && <Nothing filter={filter} />}
      {found.length > 0 && (
        <ul className="notifications">
          {found.map((each) => (
            <Row key={each.id} notification={each} onRead={() => void run(() => markRead(each.id))} />
          ))}
        </ul>
      )}
      <OlderRecords list={list} label="Show older notifications" />
    </div>
  );
}

/** Runs a change of the marks, and repeats what shows them: the list and the bell. */
function useReading() {
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  async function run(call: () => Promise<unknown>) {
    setError(null);
    try {
      await call();
      await client.invalidateQueries({ queryKey: notificationKeys.all });
    } catch (failure) {
      setError(failure);
    }
  }
  return { error, run };
}

function Filters({ filter }: { filter: NotificationFilter }) {
  const [, setQuery] = useQueryState();
  return (
    <>
      <div className="chips" role="group" aria-label="Which">
        {[{ label: "All", isUnread: false }, { label: "Unread", isUnread: true }].map(({ label, isUnread }) => (
          <button
            key={label}
            type="button"
            className="chip"
            aria-pressed={filter.isUnread === isUnread}
            onClick={() => { setQuery({ show: isUnread ? "unread" : null }); }}
          >
            {label}
          </button>
        ))}
      </div>
      <select aria-label="Kind" value={filter.kind ?? ""} onChange={(event) => { setQuery({ kind: event.target.value }); }}>
        <option value="">All kinds</option>
        {KIND_NAMES.map((kind) => <option key={kind} value={kind}>{KINDS[kind].label}</option>)}
      </select>
    </>
  );
}

function Row({ notification, onRead }: { notification: Notification; onRead: () => void }) {
  const { kind, title, message, job_id: job, at, read_at: readAt } = notification;
  const look = KINDS[kind];
  return (
    <li className={readAt ? "notification" : "notification is-unread"}>
      <span className={`pill pill-${look.tone}`}>
        <span className="pill-glyph" aria-hidden="true">{look.glyph}</span>
        {look.label}
      </span>
      <div className="notification-text">
        <p>
          {!readAt && <span className="visually-hidden">Unread: </span>}
          {job ? <Link to={`/jobs/${job}`} onClick={() => { if (!readAt) onRead(); }}>{title}</Link> : <b>{title}</b>}
        </p>
        <p className="muted">{message}</p>
      </div>
      <time className="muted small" dateTime={at} title={dateTime(at)}>{ago(at)}</time>
      {readAt ? <span className="read-space" /> : <IconButton label={`Mark as read: ${title}`} icon="check" onClick={onRead} />}
    </li>
  );
}

function Nothing({ filter }: { filter: NotificationFilter }) {
  if (filter.isUnread || filter.kind) {
    return (
      <EmptyState title={filter.kind ? "No notification of this kind" : "Everything is read"}>
        <Link to="/notifications">Show all notifications</Link>
      </EmptyState>
    );
  }
  return (
    <EmptyState title="No notifications yet">
      <p>Whatever happens to your jobs is listed here: that one started, completed, failed, or looks wrong.</p>
    </EmptyState>
  );
}
