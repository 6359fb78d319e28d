/** How the states of sweeps and of their trials look: a glyph and a word, never a colour alone. */
import type { SweepStatus, Trial } from "../../api/sweeps";
import type { StateLook } from "../../format/status";

export const SWEEP_LOOKS: Record<SweepStatus, StateLook> = {
  running: { glyph: "●", label: "Running", tone: "active" },
  paused: { glyph: "‖", label: "Paused", tone: "warn" },
  completed: { glyph: "✓", label: "Completed", tone: "good" },
  failed: { glyph: "✗", label: "Failed", tone: "bad" },
  cancelled: { glyph: "⊘", label: "Cancelled", tone: "quiet" },
};

export const TRIAL_LOOKS: Record<Trial["state"], StateLook> = {
  running: { glyph: "●", label: "Running", tone: "active" },
  pruned: { glyph: "‖", label: "Pruned", tone: "warn" },
  completed: { glyph: "✓", label: "Completed", tone: "good" },
  failed: { glyph: "✗", label: "Failed", tone: "bad" },
  cancelled: { glyph: "⊘", label: "Cancelled", tone: "quiet" },
};
