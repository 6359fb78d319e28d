import { useEffect, useRef, useState, type DragEvent } from "react";
import type { Dataset } from "../api/datasets";
import { bytes } from "../format/format";
import { Button } from "../ui/Button";
import { ErrorNote } from "../ui/Notes";
import { ReadingOptions } from "./ReadingOptions";
import { useUpload, type UploadPhase } from "./useUpload";
import "./upload.css";

/** What the service reads; any of them may be compressed. */
const ACCEPTED = ".jsonl,.ndjson,.json,.csv,.tsv,.parquet,.gz,.zst";

interface Props {
  onDone: (dataset: Dataset) => void;
  /** Called with each upload that is under way or needs the user, and with `null` at its end. */
  onPhase?: (phase: UploadPhase | null) => void;
}

/** The place to drop a file on, or to choose one; afterwards the progress of its upload. */
export function DropZone({ onDone, onPhase }: Props) {
  const { state, send, readAgain, cancel } = useUpload(onDone);
  const name = state.phase === "idle" ? null : state.file.name;
  const isStuck = state.phase === "unreadable" || state.phase === "failed";
  useEffect(() => {
    onPhase?.(name === null ? null : { name, isStuck });
    return () => { onPhase?.(null); };
  }, [name, isStuck, onPhase]);
  if (state.phase === "sending") return <Sending file={state.file} sent={state.sent} onCancel={cancel} />;
  if (state.phase === "reading") {
    return <p className="note" role="status">Reading every row of {state.file.name}…</p>;
  }
  if (state.phase === "unreadable") {
    return (
      <ReadingOptions key={state.id} file={state.file} columns={state.columns} error={state.error} onRead={readAgain} onCancel={cancel} />
    );
  }
  return (
    <>
      {state.phase === "failed" && <ErrorNote error={state.error} retry={() => { send(state.file); }} />}
      <Target onFile={send} />
    </>
  );
}

function Target({ onFile }: { onFile: (file: File) => void }) {
  const [isOver, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  function drop(event: DragEvent) {
    event.preventDefault();
    setOver(false);
    const file = event.dataTransfer.files[0];
    if (file) onFile(file);
  }
  return (
    <div
      className={`drop ${isOver ? "drop-over" : ""}`}
      onDragOver={(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave={() => { setOver(false); }}
      onDrop={drop}
    >
      <p>
        <strong>Drop a file of rows here</strong>
      </p>
      <p className="muted small">JSONL, JSON, CSV, TSV or Parquet; also compressed with gzip or zstd</p>
      <Button icon="up" onClick={() => input.current?.click()}>Choose a file</Button>
      <input
        ref={input}
        type="file"
        hidden
        accept={ACCEPTED}
        aria-label="File of rows"
        onChange={(event) => {
          const file = event.target.files?.[0];
          event.target.value = "";
          if (file) onFile(file);
        }}
      />
    </div>
  );
}

function Sending({ file, sent, onCancel }: { file: File; sent: number; onCancel: () => void }) {
  const share = file.size ? sent / file.size : 0;
  return (
    <div className="drop drop-busy">
      <p>
        Uploading <strong>{file.name}</strong>
      </p>
      <div className="bar bar-running" role="progressbar" aria-label={`Upload of ${file.name}`} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.floor(share * 100)}>
        <i className="bar-done" style={{ width: `${String(share * 100)}%` }} />
      </div>
      <p className="muted small numeric">{bytes(sent)} of {bytes(file.size)}</p>
      <Button look="ghost" onClick={onCancel}>Stop the upload</Button>
    </div>
  );
}
