import { useEffect, useId, useRef, type ReactNode } from "react";
import { IconButton } from "./Button";

interface Props {
  title: string;
  onClose: () => void;
  children: ReactNode;
  /** Buttons at the bottom. */
  footer?: ReactNode;
  wide?: boolean;
}

/**
 * A modal dialog. The browser keeps the focus inside and returns it at the end; Escape closes. The focus begins at the
 * element with `data-first`. A dialog that requests a change gives `onClose` to `mutate`, not to `useMutation`: when it
 * was closed before the reply comes, it must not close the dialog that is open by then.
 */
export function Dialog({ title, onClose, children, footer, wide }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    dialog?.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => { dialog?.close(); };
  }, []);
  return (
    <dialog
      ref={element}
      className={`dialog ${wide ? "dialog-wide" : ""}`}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header className="dialog-head">
        <h2 id={heading}>{title}</h2>
        <IconButton label="Close" icon="close" onClick={onClose} />
      </header>
      <div className="dialog-body">{children}</div>
      {footer && <footer className="dialog-foot">{footer}</footer>}
    </dialog>
  );
}
