import type { Schemas } from "../../api/client";
import { about, bytes, count } from "../../format/format";
import { plainText } from "../../config/values";
import { Button } from "../../ui/Button";
import { Loading } from "../../ui/Notes";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

type JobEstimate = Schemas["JobEstimate"];

const FITS: Record<string, { glyph: string; label: string; tone: string }> = {
  fits: { glyph: "✓", label: "Fits", tone: "good" },
  does_not_fit: { glyph: "✗", label: "Does not fit", tone: "bad" },
  unknown: { glyph: "?", label: "May not fit", tone: "warn" },
};

/** Whether the job fits, how long it takes, and what the service would choose. */
export function Estimate({ control, problems }: { control: DraftControl; problems: Problems }) {
  const { estimate } = problems;
  return (
    <div className="estimate" aria-live="polite">
      <h2>Estimate</h2>
      {!problems.isComplete && <p className="muted">Choose rows and a base model to see whether the job fits, and how long it takes.</p>}
      {problems.isEstimating && !estimate && <Loading lines={3} label="Estimating" />}
      {problems.isEstimating && estimate && <p className="muted small">Estimating again…</p>}
      {estimate && <Result estimate={estimate} onUse={control.change} />}
    </div>
  );
}

function Result({ estimate, onUse }: { estimate: JobEstimate; onUse: (changes: Record<string, unknown>) => void }) {
  const facts: [string, string][] = [
    ["Time", estimate.time_s === null || estimate.time_s === undefined ? "not known yet" : `about ${about(estimate.time_s)}`],
    ["Steps", count(estimate.steps)],
    ["Tokens", count(estimate.tokens)],
    ["Checkpoints", bytes(estimate.checkpoints_bytes)],
    ["Tuned model", bytes(estimate.delivered_bytes)],
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
          <Button onClick={() => { onUse(other.changes); }}>Use this</Button>
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
      <span className={`pill pill-${look?.tone ?? ""}`}>
        <span aria-hidden="true">{look?.glyph}</span>
        {look?.label}
      </span>{" "}
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
