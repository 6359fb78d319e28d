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
}

/** Asks before something that cannot be undone. The harmless answer has the focus. */
export function ConfirmDialog({ title, children, confirm, keep, action, onClose }: Props) {
  const acting = useMutation({ mutationFn: action, onSuccess: onClose });
  const footer = (
    <>
      <Button onClick={onClose} data-first>{keep}</Button>
      <Button look="danger" disabled={acting.isPending} onClick={() => { acting.mutate(); }}>{confirm}</Button>
    </>
  );
  return (
    <Dialog title={title} onClose={onClose} footer={footer}>
      {children}
      {acting.error && <ErrorNote error={acting.error} />}
    </Dialog>
  );
}
