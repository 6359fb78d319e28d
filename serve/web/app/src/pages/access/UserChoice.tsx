import { useQuery } from "@tanstack/react-query";
import { userListQuery } from "../../api/access";
import { isAdmin, type Session } from "../../api/session";
import { useQueryState } from "../../router/router";

/** The user whose records are shown: the caller or, for admins, the one in the address. */
export function useChosenUser(session: Session): string {
  const [query] = useQueryState();
  return (isAdmin(session) && query.get("user")) || session.user;
}

interface Props {
  label: string;
  user: string;
  /** Choices before the users, such as everyone. */
  before?: { user: string; label: string }[];
}

/** The user whose records are shown, for admins; kept in the address. */
export function UserChoice({ label, user, before = [] }: Props) {
  const [, setQuery] = useQueryState();
  const { data: users = [] } = useQuery(userListQuery);
  return (
    <label className="access-user">
      <span className="muted">{label}</span>
      <select value={user} onChange={(event) => { setQuery({ user: event.target.value }); }}>
        {before.map((choice) => <option key={choice.user} value={choice.user}>{choice.label}</option>)}
        {users.map(({ name }) => <option key={name}>{name}</option>)}
      </select>
    </label>
  );
}
