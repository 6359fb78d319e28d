import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import { Button } from "./Button";

/** The service's sentence about an error, and a way to try again. */
export function ErrorNote({ error, retry }: { error: unknown; retry?: () => void }) {
  const message = error instanceof Error ? error.message : String(error);
  const field = error instanceof ApiError ? error.param : null;
  return (
    <div className="note note-bad" role="alert">
      <p>
        {field && <code>{field}: </code>}
        {message}
      </p>
      {retry && <Button onClick={retry}>Try again</Button>}
    </div>
  );
}

/** What a page says that has nothing to show: what it is for, and what to do first. */
export function EmptyState({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      <div className="muted">{children}</div>
    </div>
  );
}

/** Grey bars in the place of what is being loaded. */
export function Loading({ lines = 5, label = "Loading" }: { lines?: number; label?: string }) {
  return (
    <div className="loading" role="status">
      <span className="visually-hidden">{label}</span>
      {Array.from({ length: lines }, (_, index) => (
        <i key={index} className="loading-line" aria-hidden="true" />
      ))}
    </div>
  );
}
