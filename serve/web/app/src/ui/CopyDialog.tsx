import { useState } from "react";
import { Button } from "./Button";
import { Dialog } from "./Dialog";

interface Props {
  title: string;
  /** Why it must be copied now. */
  note: string;
  text: string;
  onClose: () => void;
}

/** A text to copy that is not shown again. */
export function CopyDialog({ title, note, text, onClose }: Props) {
  const [isCopied, setCopied] = useState(false);
  async function copy() {
    await navigator.clipboard.writeText(text);
    setCopied(true);
  }
  // Browsers give no access to the clipboard where the connection is not encrypted.
  const canCopy = "clipboard" in navigator;
  const footer = (
    <>
      {canCopy && <Button onClick={() => void copy()}>{isCopied ? "Copied" : "Copy"}</Button>}
      <Button look="primary" onClick={onClose}>I have copied it</Button>
    </>
  );
  return (
    <Dialog title={title} onClose={onClose} footer={footer}>
      <p>{note}</p>
      <input className="mono" aria-label={title} readOnly data-first value={text} onFocus={(event) => { event.target.select(); }} />
    </Dialog>
  );
}
