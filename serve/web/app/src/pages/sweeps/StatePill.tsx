import type { StateLook } from "../../format/status";

export function StatePill({ look }: { look: StateLook }) {
  return (
    <span className={`pill pill-${look.tone}`}>
      <span className="pill-glyph" aria-hidden="true">{look.glyph}</span>
      {look.label}
    </span>
  );
}
