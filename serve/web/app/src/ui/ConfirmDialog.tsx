import { useMutation } from "@tanstack/react-query";
import type { ReactNode } from "react";
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
  /** What the action brings is shown once: the dialog stays open until it is there. */
  isAwaited?: boolean;
}

/** Asks before something that cannot be undone. The harmless answer has the focus. */
export function ConfirmDialog({ title, children, confirm, keep, action, onClose, isAwaited = false }: Props) {
  const acting = useMutation({ mutationFn: action });
  const close = () => { if (!isAwaited || !acting.isPending) onClose(); };
  const footer = (
    <>
      <Button onClick={close} data-first>{keep}</Button>
      <Button look="danger" disabled={acting.isPending} onClick={() => { acting.mutate(undefined, { onSuccess: onClose }); }}>{confirm}</Button>
    </>
  );
  return (
    <Dialog title={title} onClose={close} footer={footer}>
      {children}
      {acting.error && <ErrorNote error={acting.error} />}
    </Dialog>
  );
}
