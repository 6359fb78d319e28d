import { useState, type ReactNode } from "react";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { ErrorNote } from "./Notes";

interface Props {
  title: string;
  children: ReactNode;
  /** What the button says that does it: a verb and its object. */
  confirm: string;
  keep: string;
  action: () => Promise<unknown>;
  onClose: () => void;
}

/** Asks before something that cannot be undone. The harmless answer has the focus. */
export function ConfirmDialog({ title, children, confirm, keep, action, onClose }: Props) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  async function run() {
    setBusy(true);
    try {
      await action();
      onClose();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  }
  const footer = (
    <>
      <Button onClick={onClose} data-first>{keep}</Button>
      <Button look="danger" disabled={isBusy} onClick={() => void run()}>{confirm}</Button>
    </>
  );
  return (
    <Dialog title={title} onClose={onClose} footer={footer}>
      {children}
      {error !== null && <ErrorNote error={error} />}
    </Dialog>
  );
}
