import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { accessKeys, addUser, switchUser, userListQuery, type User } from "../../api/access";
import { ago, counted, dateTime } from "../../format/format";
import type { StateLook } from "../../format/status";
import { Link } from "../../router/Link";
import { Button } from "../../ui/Button";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { Menu } from "../../ui/Menu";
import { ErrorNote, Loading } from "../../ui/Notes";
import { StatePill } from "../../ui/Status";
import { TableHead } from "../../ui/TableHead";

const ENABLED: StateLook = { glyph: "✓", label: "Enabled", tone: "good" };
const DISABLED: StateLook = { glyph: "⊘", label: "Disabled", tone: "quiet" };

export function UsersTab() {
  const { data: users, error, refetch } = useQuery(userListQuery);
  return (
    <div className="parts">
      <AddUser />
      {error && <ErrorNote error={error} retry={() => void refetch()} />}
      {!users && !error && <Loading lines={3} />}
      {users?.length === 0 && <p className="muted">No users yet. The first key makes its owner a user.</p>}
      {users && users.length > 0 && (
        <table className="table stack records">
          <TableHead columns={["User", "State", "Keys", "Added", { hidden: "Actions" }]} />
          <tbody>
            {users.map((user) => <Row key={user.name} user={user} />)}
          </tbody>
        </table>
      )}
    </div>
  );
}

function AddUser() {
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const adding = useMutation({
    mutationFn: addUser,
    onSuccess: async (_added, sent) => {
      // What is typed while the request is under way stays.
      setName((now) => (now.trim() === sent ? "" : now));
      await queries.invalidateQueries({ queryKey: accessKeys.all });
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    if (name.trim()) adding.mutate(name.trim());
  }
  return (
    <form className="access-form" onSubmit={submit}>
      <label className="field">
        New user
        <input value={name} maxLength={63} placeholder="ann" spellCheck={false} autoComplete="off" onChange={(event) => { setName(event.target.value); }} />
      </label>
      <Button type="submit" disabled={!name.trim() || adding.isPending}>Add the user</Button>
      {adding.error && <ErrorNote error={adding.error} />}
    </form>
  );
}

function Row({ user }: { user: User }) {
  const { name, is_disabled: isDisabled, num_keys: numKeys, created_at: createdAt } = user;
  const queries = useQueryClient();
  const [isAsked, setAsked] = useState(false);
  const reload = () => queries.invalidateQueries({ queryKey: accessKeys.all });
  const enabling = useMutation({ mutationFn: () => switchUser(name, false), onSettled: reload });
  return (
    <tr>
      <th scope="row" className="record-name"><Link to={`/access?user=${encodeURIComponent(name)}`}>{name}</Link></th>
      <td data-label="State">
        <StatePill look={isDisabled ? DISABLED : ENABLED} />
        {enabling.error && <ErrorNote error={enabling.error} />}
      </td>
      <td data-label="Keys">{counted(numKeys, "valid key")}</td>
      <td data-label="Added" title={dateTime(createdAt)}>{ago(createdAt)}</td>
      <td className="record-actions">
        <Menu
          label={`Actions for ${name}`}
          items={[
            isDisabled
              ? { label: "Enable the user", run: () => { enabling.mutate(); } }
              : { label: "Disable the user…", danger: true, run: () => { setAsked(true); } },
          ]}
        />
        {isAsked && (
          <ConfirmDialog
            title={`Disable ${name}?`}
            confirm="Disable the user"
            keep="Keep them"
            onClose={() => { setAsked(false); }}
            action={async () => {
              await switchUser(name, true);
              await reload();
            }}
          >
            <p>Their keys are refused at once. Their jobs and data stay, and queued jobs still run.</p>
          </ConfirmDialog>
        )}
      </td>
    </tr>
  );
}
