import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { sessionKey, sessionQuery, signOut } from "../api/session";
import { Button } from "../ui/Button";

/** Who is signed in, and the way out; nothing where the service requires no key. */
export function Account() {
  const queries = useQueryClient();
  const { data: session } = useQuery(sessionQuery);
  const leaving = useMutation({
    mutationFn: signOut,
    onSuccess: () => {
      queries.setQueryData(sessionKey, null);
    },
  });
  if (!session?.requires_keys) return null;
  return (
    <div className="account small">
      <span className="muted">Signed in as <b>{session.user}</b></span>
      <Button look="ghost" disabled={leaving.isPending} onClick={() => { leaving.mutate(); }}>Sign out</Button>
    </div>
  );
}
