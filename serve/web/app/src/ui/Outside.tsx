import type { ReactNode } from "react";
import { Icon } from "./Icon";

/** A link to a page of MLflow or Ray, which run beside the service: their addresses are for a browser on its machine. */
export function Outside({ to, children }: { to: string; children: ReactNode }) {
  return (
    <a className="outside" href={to} target="_blank" rel="noreferrer">
      {children} <Icon name="external" />
      <span className="visually-hidden"> (opens in a new tab)</span>
    </a>
  );
}
