import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { accessKeys, GRACE_HOURS, keyListQuery, revokeKey, rotateKey, type ApiKey } from "../../api/access";
import { isAdmin, type Session } from "../../api/session";
import { ago, dateTime } from "../../format/format";
import type { StateLook } from "../../format/status";
import { Button } from "../../ui/Button";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { Menu, type MenuItem } from "../../ui/Menu";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { StatePill } from "../../ui/Status";
import { TableHead } from "../../ui/TableHead";
import { KeyDialog, ShownKey } from "./KeyDialog";
import { UserChoice, useChosenUser } from "./UserChoice";

/** The keys of the caller or, for admins, of a user of their choice. */
export function KeysTab({ session }: { session: Session }) {
  const mayManage = isAdmin(session);
  const owner = useChosenUser(session);
  const { data: keys, error, refetch } = useQuery(keyListQuery(owner));
  const [isCreating, setCreating] = useState(false);
  return (
    <div className="parts">
      {!session.requires_keys && (
        <div className="note">
          <p>
            This service requires no key: everyone on its machine is the user <b>{session.user}</b>. After the first key,
            which must have the scope <code>admin</code>, every caller needs one.
          </p>
        </div>
      )}
      <div className="toolbar access-head">
        {mayManage && session.requires_keys && <UserChoice label="Keys of" user={owner} />}
        {mayManage && (
          <Button look="primary" icon="new" onClick={() => { setCreating(true); }}>
            {session.requires_keys ? "Create a key" : "Create the first key"}
          </Button>
        )}
      </div>
      {error && <ErrorNote error={error} retry={() => void refetch()} />}
      {!keys && !error && <Loading lines={3} />}
      {keys?.length === 0 && (
        <EmptyState title={`No keys of ${owner}`}>
          <p>Programs and browsers use the service with a key: <code>ftlab login</code>, or the page to sign in.</p>
        </EmptyState>
      )}
      {keys && keys.length > 0 && <Table keys={keys} session={session} />}
      {isCreating && <KeyDialog owner={owner} isFirst={!session.requires_keys} onClose={() => { setCreating(false); }} />}
    </div>
  );
}

function Table({ keys, session }: { keys: ApiKey[]; session: Session }) {
  return (
    <table className="table stack records">
      <TableHead columns={["Key", "State", "Allows", "Last used", "Expires", { hidden: "Actions" }]} />
      <tbody>
        {keys.map((key) => <Row key={key.id} record={key} session={session} />)}
      </tbody>
    </table>
  );
}

type Asked = "rotate" | "revoke" | null;

function Row({ record, session }: { record: ApiKey; session: Session }) {
  const queries = useQueryClient();
  const [asked, setAsked] = useState<Asked>(null);
  const [newKey, setNewKey] = useState<string | null>(null);
  const reload = () => queries.invalidateQueries({ queryKey: accessKeys.all });
  const isOwn = record.id === session.key_id;
  const { id, name, is_valid: isValid } = record;
  const items: MenuItem[] = [
    { label: "Rotate the key…", run: () => { setAsked("rotate"); } },
    { label: "Revoke the key…", danger: true, run: () => { setAsked("revoke"); } },
  ];
  const mayChange = isValid && (isOwn || isAdmin(session));
  const close = () => { setAsked(null); };
  return (
    <tr>
      <th scope="row" className="record-name">
        <b>{name}{isOwn && <span className="muted"> (this one)</span>}</b>
        <span className="muted small mono">ftl_{id}_…</span>
      </th>
      <td data-label="State"><StatePill look={stateOf(record)} /></td>
      <td data-label="Allows">{record.scopes.join(", ")}</td>
      <td data-label="Last used" title={dateTime(record.last_used_at)}>{record.last_used_at ? ago(record.last_used_at) : "never"}</td>
      <td data-label="Expires">{record.expires_at ? dateTime(record.expires_at) : "never"}</td>
      <td className="record-actions">
        {mayChange && <Menu label={`Actions for ${name}`} items={items} />}
        {asked === "rotate" && (
          <ConfirmDialog
            title={`Rotate ${name}?`}
            confirm="Create its replacement"
            keep="Keep it"
            onClose={close}
            isAwaited
            action={async () => {
              setNewKey((await rotateKey(id)).key);
              await reload();
            }}
          >
            <p>A new key with the same scopes is created. This one stays valid for {GRACE_HOURS} hours, so that its users can change over.</p>
          </ConfirmDialog>
        )}
        {asked === "revoke" && (
          <ConfirmDialog
            title={`Revoke ${name}?`}
            confirm="Revoke the key"
            keep="Keep it"
            onClose={close}
            action={async () => {
              await revokeKey(id);
              await reload();
            }}
          >
            <p>
              It is refused from now on, and browsers that signed in with it are signed out{isOwn && ", this one too"}.
              That cannot be undone.
            </p>
          </ConfirmDialog>
        )}
        {newKey !== null && <ShownKey text={newKey} onClose={() => { setNewKey(null); }} />}
      </td>
    </tr>
  );
}

function stateOf({ is_valid: isValid, revoked_at: revokedAt, expires_at: expiresAt }: ApiKey): StateLook {
  if (isValid) return { glyph: "✓", label: "Valid", tone: "good" };
  if (revokedAt) return { glyph: "⊘", label: "Revoked", tone: "quiet" };
  const hasExpired = expiresAt && new Date(expiresAt).getTime() <= Date.now();
  return { glyph: "⊘", label: hasExpired ? "Expired" : "User disabled", tone: "quiet" };
}
