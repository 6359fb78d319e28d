import type { CheckReport } from "../api/datasets";
import { counted } from "../format/format";
import type { StateLook } from "../format/status";
import { StatePill } from "../ui/Status";

const LOOKS: Record<string, StateLook> = {
  error: { glyph: "✗", label: "Error", tone: "bad" },
  warning: { glyph: "!", label: "Warning", tone: "warn" },
  info: { glyph: "i", label: "Note", tone: "active" },
};

/** What was found, the worst first. A finding about one row leads to its tokens. */
export function Findings({ report, onRow }: { report: CheckReport; onRow?: ((row: number) => void) | undefined }) {
  if (report.num_findings === 0) return <p className="note note-good">Nothing is wrong with the rows.</p>;
  const hidden = report.num_findings - report.findings.length;
  return (
    <>
      <ul className="findings">
        {report.findings.map((finding, index) => {
          const look = LOOKS[finding.severity] ?? LOOKS["info"];
          const row = finding.row;
          return (
            <li key={index}>
              {look && <StatePill look={look} />}
              <span>
                {finding.message}
                {row && onRow && (
                  <>
                    {" "}
                    <button type="button" className="text-button" onClick={() => { onRow(row); }}>Show row {row}</button>
                  </>
                )}
              </span>
            </li>
          );
        })}
      </ul>
      {hidden > 0 && <p className="muted small">{counted(hidden, "more finding")} of the same kinds.</p>}
    </>
  );
}
