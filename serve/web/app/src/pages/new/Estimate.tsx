import type { Schemas } from "../../api/client";
import { about, bytes, count, money } from "../../format/format";
import type { StateLook } from "../../format/status";
import { plainText } from "../../config/values";
import { Button } from "../../ui/Button";
import { Loading } from "../../ui/Notes";
import { StatePill } from "../../ui/Status";
import "../../data/data.css";

type JobEstimate = Schemas["JobEstimate"];

const FITS: Record<string, StateLook> = {
  fits: { glyph: "✓", label: "Fits", tone: "good" },
  does_not_fit: { glyph: "✗", label: "Does not fit", tone: "bad" },
  unknown: { glyph: "?", label: "May not fit", tone: "warn" },
};

interface Props {
  estimate: JobEstimate | null;
  isComplete: boolean;
  isEstimating: boolean;
  /** Takes the settings of an alternative. */
  onUse?: (changes: Record<string, unknown>) => void;
}

/** Whether the job fits, how long it takes, and what the service would choose. */
export function Estimate({ estimate, isComplete, isEstimating, onUse }: Props) {
  return (
    <div className="estimate" aria-live="polite">
      <h2>Estimate</h2>
      {!isComplete && <p className="muted">Choose rows and a model to see whether the job fits, and how long it takes.</p>}
      {isEstimating && !estimate && <Loading lines={3} label="Estimating" />}
      {isEstimating && estimate && <p className="muted small">Estimating again…</p>}
      {estimate && <Result estimate={estimate} onUse={onUse} />}
    </div>
  );
}

function Result({ estimate, onUse }: { estimate: JobEstimate; onUse: Props["onUse"] }) {
  const { time_s, cost, currency } = estimate;
  const ofTraining: [string, string][] = [
    ["Steps", count(estimate.steps)],
    ["Checkpoints", bytes(estimate.checkpoints_bytes)],
    ["Tuned model", bytes(estimate.delivered_bytes)],
  ];
  const facts: [string, string][] = [
    ["Time", typeof time_s === "number" ? `about ${about(time_s)}` : "not known yet"],
    ...(cost && currency ? [["Cost", `about ${money(cost, currency)}`] as [string, string]] : []),
    ["Tokens", count(estimate.tokens)],
    ...(estimate.kind === "evaluation" ? [] : ofTraining),
  ];
  return (
    <>
      {estimate.devices?.map((device) => <Device key={device.device} device={device} />)}
      <dl className="figures">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd className="numeric">{value}</dd>
          </div>
        ))}
      </dl>
      {estimate.alternatives?.map((other, index) => (
        <div key={index} className="note">
          <p className="small">
            {Object.entries(other.changes).map(([path, value]) => <code key={path} className="change">{path}: {plainText(value)}</code>)}
            {other.message}
          </p>
          {onUse && <Button onClick={() => { onUse(other.changes); }}>Use this</Button>}
        </div>
      ))}
      <Chosen auto={estimate.auto ?? {}} />
      {(estimate.notes?.length ?? 0) > 0 && (
        <ul className="notes muted small">{estimate.notes?.map((note) => <li key={note}>{note}</li>)}</ul>
      )}
    </>
  );
}

function Device({ device }: { device: Schemas["DeviceEstimate"] }) {
  const look = FITS[device.fits] ?? FITS["unknown"];
  return (
    <div className="device">
      {look && <StatePill look={look} />}{" "}
      <strong>{device.device}</strong>
      <p className="small muted">{device.message}</p>
    </div>
  );
}

function Chosen({ auto }: { auto: Record<string, Schemas["AutoValue"]> }) {
  const entries = Object.entries(auto);
  if (entries.length === 0) return null;
  return (
    <details className="chosen-values" open>
      <summary>What <code>auto</code> becomes</summary>
      <dl>
        {entries.map(([path, { value, reason }]) => (
          <div key={path}>
            <dt><code>{path}: {plainText(value)}</code></dt>
            <dd className="muted small">{reason}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
