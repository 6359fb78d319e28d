import { useInfiniteQuery } from "@tanstack/react-query";
import { auditQuery, type AuditEntry } from "../../api/access";
import { dateTime } from "../../format/format";
import { useQueryState } from "../../router/router";
import { Button } from "../../ui/Button";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { OlderRecords } from "../../ui/OlderRecords";
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
  const entries = list.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <div className="parts">
      <div className="access-head">
        <UserChoice label="Actions of" user={user} before={BEFORE} />
        <Button disabled={list.isFetching} onClick={() => void list.refetch()}>Look for new entries</Button>
      </div>
      {list.isPending && <Loading lines={6} />}
      {list.isError && <ErrorNote error={list.error} retry={() => void list.refetch()} />}
      {list.isSuccess && entries.length === 0 && (
        <EmptyState title="Nothing was recorded">
          <p>Every request with a key that may change something is listed here, about a second later.</p>
        </EmptyState>
      )}
      {entries.length > 0 && (
        <table className="table stack records">
          <TableHead columns={["Time", "User", "Request", "Status", "Address"]} />
          <tbody>
            {entries.map((entry) => <Row key={entry.id} entry={entry} />)}
          </tbody>
        </table>
      )}
      <OlderRecords list={list} label="Show older entries" />
    </div>
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
