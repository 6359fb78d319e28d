import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useId, useState, type FormEvent } from "react";
import { keyInFragment, sessionKey, signIn } from "../api/session";
import { Button } from "../ui/Button";
import { ErrorNote } from "../ui/Notes";
import { useTitle } from "./useTitle";

/** Takes the place of every page while nobody is signed in. */
export function SignIn() {
  useTitle("Sign in");
  const queries = useQueryClient();
  const [key, setKey] = useState("");
  const field = useId();
  const entering = useMutation({
    mutationFn: signIn,
    onSuccess: (session) => {
      // What an earlier user has seen.
      queries.removeQueries({ predicate: (query) => query.queryKey[0] !== sessionKey[0] });
      queries.setQueryData(sessionKey, session);
    },
  });
  const { mutate } = entering;

  useEffect(() => {
    const given = keyInFragment(location.hash);
    if (!given) return;
    // Neither the history nor a bookmark may keep it.
    history.replaceState(null, "", location.pathname + location.search);
    mutate(given);
  }, [mutate]);

  function submit(event: FormEvent) {
    event.preventDefault();
    if (key.trim()) mutate(key.trim());
  }

  return (
    <main className="sign-in">
      <form onSubmit={submit}>
        <h1>FineTune Lab</h1>
        <label htmlFor={field}>API key</label>
        <input
          id={field}
          type="password"
          autoComplete="current-password"
          autoFocus
          spellCheck={false}
          value={key}
          onChange={(event) => { setKey(event.target.value); }}
        />
        <p className="muted small">
          It looks like <code>ftl_…</code>. An admin creates one with <code>ftlab keys create</code>.
        </p>
        {entering.error && <ErrorNote error={entering.error} />}
        <Button look="primary" type="submit" disabled={entering.isPending || !key.trim()}>Sign in</Button>
      </form>
    </main>
  );
}
