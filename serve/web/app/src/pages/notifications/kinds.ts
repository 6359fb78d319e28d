/** The kinds of notifications: how they look, and which one the address asks for. */
import type { NotificationFilter, NotificationKind } from "../../api/notifications";
import type { StateLook } from "../../format/status";

export const KINDS: Record<NotificationKind, StateLook> = {
  submitted: { glyph: "○", label: "Submitted", tone: "quiet" },
  started: { glyph: "●", label: "Started", tone: "active" },
  completed: { glyph: "✓", label: "Completed", tone: "good" },
  failed: { glyph: "✗", label: "Failed", tone: "bad" },
  cancelled: { glyph: "⊘", label: "Cancelled", tone: "quiet" },
  paused: { glyph: "‖", label: "Paused", tone: "warn" },
  resumed: { glyph: "▸", label: "Resumed", tone: "active" },
  retried: { glyph: "↻", label: "Retried", tone: "warn" },
  recovered: { glyph: "↻", label: "Recovered", tone: "warn" },
  requeued: { glyph: "○", label: "Queued again", tone: "quiet" },
  alarm: { glyph: "!", label: "Alarm", tone: "warn" },
  budget: { glyph: "!", label: "Budget", tone: "bad" },
  gpu_out: { glyph: "!", label: "GPU taken out", tone: "bad" },
  channel_off: { glyph: "!", label: "Channel off", tone: "bad" },
  test: { glyph: "·", label: "Test", tone: "quiet" },
};

export const KIND_NAMES = Object.keys(KINDS) as NotificationKind[];

export function filterOf(query: URLSearchParams): NotificationFilter {
  const kind = KIND_NAMES.find((name) => name === query.get("kind")) ?? null;
  return { isUnread: query.get("show") === "unread", kind };
}
