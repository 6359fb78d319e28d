import type { ReactNode } from "react";

/** A sentence of the service, in which code is in backquotes. */
export function HelpText({ text }: { text: string }): ReactNode {
  return text.split("`").map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part));
}
