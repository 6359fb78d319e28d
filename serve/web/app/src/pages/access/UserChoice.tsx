import { useQuery } from "@tanstack/react-query";
import { userListQuery } from "../../api/access";
import { useQueryState } from "../../router/router";

interface Props {
  label: string;
  user: string;
  /** What the choice of nobody in particular is called, where it is one. */
  everyone?: string;
}

/** The user whose records are shown, for admins; kept in the address. */
export function UserChoice({ label, user, everyone }: Props) {
  const [, setQuery] = useQueryState();
  const { data: users = [] } = useQuery(userListQuery);
  return (
    <label className="access-user">
      <span className="muted">{label}</span>
      <select value={user} onChange={(event) => { setQuery({ user: event.target.value }); }}>
        {everyone !== undefined && <option value="">{everyone}</option>}
        {users.map(({ name }) => <option key={name}>{name}</option>)}
      </select>
    </label>
  );
}
