import { useEffect, useRef, useState, type FormEvent } from "react";
import { pushArtifact, type HubCommit, type PushProgress } from "../../api/push";
import { bytes, percent } from "../../format/format";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ErrorNote } from "../../ui/Notes";

const PHASES: Record<PushProgress["phase"], string> = {
  checking: "Checking the files",
  uploading: "Uploading",
  committing: "The hub makes the commit",
};

interface Props {
  exportId: string;
  artifact: string;
  onClose: () => void;
}

/** Uploads an artifact to the hub while the dialog is open. The token is in this form only. */
export function PushDialog({ exportId, artifact, onClose }: Props) {
  const [repo, setRepo] = useState("");
  const [token, setToken] = useState("");
  const [isPrivate, setPrivate] = useState(true);
  const [progress, setProgress] = useState<PushProgress | "begun" | null>(null);
  const [done, setDone] = useState<HubCommit | null>(null);
  const [error, setError] = useState<unknown>(null);
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => { running.current?.abort(); }, []);

  async function upload(event: FormEvent) {
    event.preventDefault();
    const controller = new AbortController();
    running.current = controller;
    setError(null);
    setProgress("begun");
    try {
      const wanted = { repo: repo.trim(), private: isPrivate, token: token.trim() };
      setDone(await pushArtifact(exportId, artifact, wanted, controller.signal, setProgress));
      setToken("");
    } catch (failure) {
      if (!controller.signal.aborted) setError(failure);
    }
    setProgress(null);
  }

  const form = `push-${exportId}-${artifact}`;
  const footer = done ? (
    <Button look="primary" onClick={onClose}>Close</Button>
  ) : (
    <>
      <Button onClick={onClose}>{progress ? "Stop the upload" : "Leave it"}</Button>
      <Button look="primary" type="submit" form={form} disabled={progress !== null || !repo.trim() || !token.trim()}>Upload</Button>
    </>
  );
  return (
    <Dialog title={`Upload ${artifact} to the hub`} onClose={onClose} footer={footer}>
      {done ? (
        <p role="status">
          {done.is_new ? `${String(done.num_files)} files are in` : "All files were already in"}{" "}
          <a href={done.url} target="_blank" rel="noreferrer">{done.repo}</a>.
        </p>
      ) : (
        <form id={form} onSubmit={(event) => void upload(event)}>
          <label className="field">
            Repository
            <input data-first placeholder="OWNER/NAME" spellCheck={false} value={repo} onChange={(event) => { setRepo(event.target.value); }} />
          </label>
          <label className="field">
            Your token for the hub, with the right to write
            <input type="password" autoComplete="off" spellCheck={false} value={token} onChange={(event) => { setToken(event.target.value); }} />
          </label>
          <label className="check">
            <input type="checkbox" checked={isPrivate} onChange={(event) => { setPrivate(event.target.checked); }} />
            Private repository
          </label>
          <p className="muted small">
            The token is used for this upload and not stored. Keep this dialog open until the upload is complete; one that
            was stopped can be repeated, and sends only what is missing.
          </p>
        </form>
      )}
      {progress !== null && <p role="status">{textOf(progress)}</p>}
      {error !== null && <ErrorNote error={error} />}
    </Dialog>
  );
}

function textOf(progress: PushProgress | "begun"): string {
  if (progress === "begun") return "Asking the hub…";
  const { phase, done_bytes: done, total_bytes: total } = progress;
  if (phase === "committing") return `${PHASES[phase]}…`;
  return `${PHASES[phase]}: ${bytes(done)} of ${bytes(total)}, ${percent(total ? done / total : 1)}`;
}
