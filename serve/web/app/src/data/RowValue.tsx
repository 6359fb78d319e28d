import type { ReactNode } from "react";

interface Message {
  role: string;
  content?: unknown;
}

/** A value of a row: conversations as messages, objects by their fields, everything else as text. */
export function RowValue({ value }: { value: unknown }): ReactNode {
  if (isConversation(value)) {
    return (
      <div className="messages">
        {value.map((message, index) => (
          <div key={index} className={`message message-${message.role === "assistant" ? "answer" : "other"}`}>
            <span className="message-role">{message.role}</span>
            <span className="row-text">{textOf(message.content ?? rest(message))}</span>
          </div>
        ))}
      </div>
    );
  }
  if (isRecord(value)) {
    return (
      <dl className="row-fields">
        {Object.entries(value)
          .filter(([, inner]) => inner !== null)
          .map(([name, inner]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>
                <RowValue value={inner} />
              </dd>
            </div>
          ))}
      </dl>
    );
  }
  return <span className="row-text">{textOf(value)}</span>;
}

function isConversation(value: unknown): value is Message[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => isRecord(item) && typeof item["role"] === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function rest(message: Message): unknown {
  return Object.fromEntries(Object.entries(message).filter(([name, inner]) => name !== "role" && inner !== null));
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 1);
}
