import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { shareDataset, type Dataset } from "../../api/datasets";
import { dateTime } from "../../format/format";
import { Button } from "../../ui/Button";
import { CopyDialog } from "../../ui/CopyDialog";
import { Dialog } from "../../ui/Dialog";
import { ErrorNote } from "../../ui/Notes";

const HOUR_S = 3600;
const LIFETIMES = [
  { seconds: HOUR_S, label: "1 hour" },
  { seconds: 24 * HOUR_S, label: "1 day" },
  { seconds: 7 * 24 * HOUR_S, label: "7 days" },
];

/** Makes a URL at which anyone can download the file for a while. */
export function ShareDialog({ dataset, onClose }: { dataset: Dataset; onClose: () => void }) {
  const [seconds, setSeconds] = useState(24 * HOUR_S);
  const sharing = useMutation({ mutationFn: () => shareDataset(dataset.id, seconds) });
  if (sharing.data) {
    const { url, expires_at: end } = sharing.data;
    const note = `Anyone who has this link can download the file until ${dateTime(end)}. It cannot be taken back.`;
    return <CopyDialog title={`Link to ${dataset.name}`} note={note} text={url} onClose={onClose} />;
  }
  const footer = (
    <>
      <Button onClick={onClose}>Cancel</Button>
      <Button look="primary" disabled={sharing.isPending} onClick={() => { sharing.mutate(); }}>Create the link</Button>
    </>
  );
  return (
    <Dialog title={`Share ${dataset.name}`} onClose={onClose} footer={footer}>
      <label className="field">
        The link works for
        <select data-first value={seconds} onChange={(event) => { setSeconds(Number(event.target.value)); }}>
          {LIFETIMES.map((choice) => <option key={choice.label} value={choice.seconds}>{choice.label}</option>)}
        </select>
      </label>
      <p className="muted small">A download from the link needs no key.</p>
      {sharing.error && <ErrorNote error={sharing.error} />}
    </Dialog>
  );
}
