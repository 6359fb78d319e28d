import { useInfiniteQuery } from "@tanstack/react-query";
import { auditQuery, type AuditEntry } from "../../api/access";
import { recordsOf } from "../../api/pages";
import { dateTime } from "../../format/format";
import { useQueryState } from "../../router/router";
import { Button } from "../../ui/Button";
import { EmptyState } from "../../ui/Notes";
import { RecordList } from "../../ui/RecordList";
import { TableHead } from "../../ui/TableHead";
import { UserChoice } from "./UserChoice";

const BEFORE = [
  { user: "", label: "Everyone" },
  { user: "-", label: "Wrong keys" },
];

/** Who did what, newest first. */
export function AuditTab() {
  const [query] = useQueryState();
  const user = query.get("user") ?? "";
  const list = useInfiniteQuery(auditQuery(user));
  const entries = recordsOf(list.data);
  return (
    <div className="parts">
      <div className="toolbar access-head">
        <UserChoice label="Actions of" user={user} before={BEFORE} />
        <Button disabled={list.isFetching} onClick={() => void list.refetch()}>Look for new entries</Button>
      </div>
      <RecordList list={list} isEmpty={entries.length === 0} empty={<NoEntries />} older="Show older entries">
        <table className="table stack records">
          <TableHead columns={["Time", "User", "Request", "Status", "Address"]} />
          <tbody>
            {entries.map((entry) => <Row key={entry.id} entry={entry} />)}
          </tbody>
        </table>
      </RecordList>
    </div>
  );
}

function NoEntries() {
  return (
    <EmptyState title="Nothing was recorded">
      <p>Every request with a key that may change something is listed here, about a second later.</p>
    </EmptyState>
  );
}

function Row({ entry }: { entry: AuditEntry }) {
  const method = entry.action.split(" ", 1)[0] ?? "";
  return (
    <tr>
      <th scope="row" className="access-time">{dateTime(entry.at)}</th>
      <td data-label="User">
        <span>
          {entry.user}
          {entry.owner !== entry.user && <span className="muted"> for {entry.owner}</span>}
          <span className="muted small mono access-key">{entry.key_id ?? "no key"}</span>
        </span>
      </td>
      <td data-label="Request" className="mono small access-path" title={entry.request_id ?? undefined}>{method} {entry.path}</td>
      <td data-label="Status" className="numeric">
        <span className={entry.status >= 400 ? "access-refused" : ""}>{entry.status}</span>
      </td>
      <td data-label="Address">{entry.address ?? "–"}</td>
    </tr>
  );
}
