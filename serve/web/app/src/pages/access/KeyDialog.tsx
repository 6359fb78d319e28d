import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { accessKeys, createKey, type Scope } from "../../api/access";
import { sessionKey, signIn } from "../../api/session";
import { Button } from "../../ui/Button";
import { CopyDialog } from "../../ui/CopyDialog";
import { Dialog } from "../../ui/Dialog";
import { ErrorNote } from "../../ui/Notes";

const SCOPES: { scope: Scope; label: string }[] = [
  { scope: "read", label: "Read: see jobs, datasets and models" },
  { scope: "train", label: "Train: also upload, submit, cancel and delete" },
  { scope: "admin", label: "Admin: also manage users and keys, and act for other users" },
];
const LIFETIMES = [
  { days: "7", label: "7 days" },
  { days: "30", label: "30 days" },
  { days: "90", label: "90 days" },
  { days: "365", label: "1 year" },
  { days: "", label: "Never" },
];

/** Creates a key and shows it once. With the first key of a service, the browser signs in at once. */
export function KeyDialog({ owner, isFirst, onClose }: { owner: string; isFirst: boolean; onClose: () => void }) {
  const queries = useQueryClient();
  const [name, setName] = useState("");
  const [scope, setScope] = useState<Scope>(isFirst ? "admin" : "train");
  const [days, setDays] = useState(isFirst ? "" : "90");
  const creating = useMutation({
    mutationFn: async () => {
      const lifetime = days ? { expires_in_days: Number(days) } : {};
      const created = await createKey(owner, { name: name.trim() || "key", scopes: [scope], ...lifetime });
      // The key is shown in any case: without it, nobody could use the service any more.
      const session = isFirst ? await signIn(created.key).catch(() => null) : null;
      return { text: created.key, session };
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: accessKeys.all }),
  });
  if (creating.data) {
    const { text, session } = creating.data;
    const close = () => {
      if (session) queries.setQueryData(sessionKey, session);
      onClose();
    };
    return <ShownKey text={text} onClose={close} />;
  }
  // A key that is created while nobody looks would never be seen.
  const cancel = () => { if (!creating.isPending) onClose(); };
  const footer = (
    <>
      <Button disabled={creating.isPending} onClick={cancel}>Cancel</Button>
      <Button look="primary" disabled={creating.isPending} onClick={() => { creating.mutate(); }}>Create the key</Button>
    </>
  );
  return (
    <Dialog title={isFirst ? "Create the first key" : `Create a key for ${owner}`} onClose={cancel} footer={footer}>
      <label className="field">
        Name
        <input data-first value={name} maxLength={200} placeholder="What it is for, such as laptop" onChange={(event) => { setName(event.target.value); }} />
      </label>
      <fieldset className="scopes">
        <legend>Allows</legend>
        {SCOPES.map((choice) => (
          <label key={choice.scope} className="check">
            <input
              type="radio"
              name="scope"
              checked={scope === choice.scope}
              disabled={isFirst && choice.scope !== "admin"}
              onChange={() => { setScope(choice.scope); }}
            />
            {choice.label}
          </label>
        ))}
      </fieldset>
      <label className="field">
        Expires after
        <select value={days} onChange={(event) => { setDays(event.target.value); }}>
          {LIFETIMES.map((choice) => <option key={choice.label} value={choice.days}>{choice.label}</option>)}
        </select>
      </label>
      {isFirst && <p className="muted small">From then on, every caller needs a key. This browser signs in with the new one.</p>}
      {creating.error && <ErrorNote error={creating.error} />}
    </Dialog>
  );
}

/** A new key, which is shown only once. */
export function ShownKey({ text, onClose }: { text: string; onClose: () => void }) {
  const note = "Copy it now: it is not shown again, and the service does not store it.";
  return <CopyDialog title="The new key" note={note} text={text} onClose={onClose} />;
}
