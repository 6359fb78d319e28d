import { Component, type ReactNode } from "react";
import { Button } from "../ui/Button";
import { EmptyState } from "../ui/Notes";

/** Shows a page's own fault in its place, so that the navigation still works. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state: { error: unknown } = { error: null };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (error === null) return this.props.children;
    return (
      <EmptyState title="This page cannot be shown">
        <p>{error instanceof Error ? error.message : String(error)}</p>
        <p>If the service was updated in the meantime, load the page again.</p>
        <Button look="primary" onClick={() => { window.location.reload(); }}>Load again</Button>
      </EmptyState>
    );
  }
}
