import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import {
  markAllRead,
  markRead,
  notificationKeys,
  notificationListQuery,
  type Notification,
  type NotificationFilter,
} from "../../api/notifications";
import { recordsOf } from "../../api/pages";
import { ago, counted, dateTime } from "../../format/format";
import { Link } from "../../router/Link";
import { useQueryState } from "../../router/router";
import { Button, IconButton } from "../../ui/Button";
import { EmptyState, ErrorNote } from "../../ui/Notes";
import { RecordList } from "../../ui/RecordList";
import { StatePill } from "../../ui/Status";
import { filterOf, KIND_NAMES, KINDS } from "./kinds";

export function NotificationList() {
  const [query] = useQueryState();
  const filter = filterOf(query);
  const list = useInfiniteQuery(notificationListQuery(filter));
  const client = useQueryClient();
  const marking = useMutation({
    mutationFn: (mark: () => Promise<unknown>) => mark(),
    // The list and the bell show the marks.
    onSuccess: () => client.invalidateQueries({ queryKey: notificationKeys.all }),
  });
  const found = recordsOf(list.data);
  const unread = list.data?.pages[0]?.num_unread ?? 0;
  const newest = found[0];
  return (
    <div className="parts">
      <div className="toolbar notification-head">
        <Filters filter={filter} />
        {unread > 0 && <span className="muted">{counted(unread, "unread", "unread")}</span>}
        {unread > 0 && newest && !filter.kind && (
          <Button onClick={() => { marking.mutate(() => markAllRead(newest.id)); }}>Mark all as read</Button>
        )}
      </div>
      {marking.error && <ErrorNote error={marking.error} />}
      <RecordList list={list} isEmpty={found.length === 0} empty={<Nothing filter={filter} />} older="Show older notifications">
        <ul className="bordered-list">
          {found.map((each) => (
            <Row key={each.id} notification={each} onRead={() => { marking.mutate(() => markRead(each.id)); }} />
          ))}
        </ul>
      </RecordList>
    </div>
  );
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
      <StatePill look={look} />
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
