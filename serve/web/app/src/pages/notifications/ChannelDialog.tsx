import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { newSecret, notificationKeys, saveChannel, type Channel, type NotificationKind } from "../../api/notifications";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ErrorNote } from "../../ui/Notes";
import { KIND_NAMES, KINDS } from "./kinds";

const WEBHOOK = /^\s*https?:/i;
const LISTED = KIND_NAMES.filter((kind) => kind !== "test");

/** Adds a channel, or replaces the one of the same name. */
export function ChannelDialog({ channels, onClose }: { channels: Channel[]; onClose: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [secret, setSecret] = useState(newSecret);
  const [kinds, setKinds] = useState<NotificationKind[]>([]);
  const [jobs, setJobs] = useState("");
  const isWebhook = WEBHOOK.test(url);
  const isReplacing = channels.some((channel) => channel.name === name.trim());
  const saving = useMutation({
    mutationFn: () => {
      const named = jobs.split(",").map((job) => job.trim()).filter(Boolean);
      return saveChannel(name.trim(), { url: url.trim(), secret: isWebhook ? secret.trim() : null, kinds, jobs: named });
    },
    onSuccess: () => client.invalidateQueries({ queryKey: notificationKeys.channels }),
  });
  const save = () => { saving.mutate(undefined, { onSuccess: onClose }); };
  const footer = (
    <>
      <Button onClick={onClose}>Cancel</Button>
      <Button look="primary" disabled={!name.trim() || !url.trim() || saving.isPending} onClick={save}>
        {isReplacing ? `Replace ${name.trim()}` : "Add the channel"}
      </Button>
    </>
  );
  return (
    <Dialog title="Add a channel" onClose={onClose} footer={footer}>
      <label className="field">
        Name
        <input autoFocus value={name} maxLength={63} spellCheck={false} onChange={(event) => { setName(event.target.value); }} />
      </label>
      <label className="field">
        URL
        <input
          value={url}
          maxLength={2000}
          spellCheck={false}
          autoComplete="off"
          aria-describedby="channel-url-help"
          onChange={(event) => { setUrl(event.target.value); }}
        />
      </label>
      <p id="channel-url-help" className="muted small">
        <code>https://…</code> for a webhook, <code>mailto:me@example.com</code>, or a URL of Apprise such
        as <code>discord://…</code>. It is never shown again.
      </p>
      {isWebhook && <Secret secret={secret} onChange={setSecret} />}
      <KindChoice chosen={kinds} onChange={setKinds} />
      <label className="field">
        Jobs
        <input value={jobs} placeholder="All; or names or ids with commas" spellCheck={false} onChange={(event) => { setJobs(event.target.value); }} />
      </label>
      {saving.error && <ErrorNote error={saving.error} />}
    </Dialog>
  );
}

function Secret({ secret, onChange }: { secret: string; onChange: (secret: string) => void }) {
  return (
    <>
      <label className="field">
        Secret
        <input
          className="mono"
          value={secret}
          maxLength={200}
          spellCheck={false}
          autoComplete="off"
          aria-describedby="channel-secret-help"
          onChange={(event) => { onChange(event.target.value); }}
        />
      </label>
      <p id="channel-secret-help" className="muted small">
        The receiver checks the signatures with it. Copy it now: it is not shown again.
      </p>
    </>
  );
}

function KindChoice({ chosen, onChange }: { chosen: NotificationKind[]; onChange: (kinds: NotificationKind[]) => void }) {
  return (
    <fieldset className="kinds">
      <legend>Kinds; none means all</legend>
      {LISTED.map((kind) => (
        <label key={kind} className="check">
          <input
            type="checkbox"
            checked={chosen.includes(kind)}
            onChange={(event) => { onChange(event.target.checked ? [...chosen, kind] : chosen.filter((each) => each !== kind)); }}
          />
          {KINDS[kind].label}
        </label>
      ))}
    </fieldset>
  );
}
