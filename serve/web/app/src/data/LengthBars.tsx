import type { Schemas } from "../api/client";
import { count, counted } from "../format/format";

/** How long the rows are, as bars; rows beyond the limit are marked. */
export function LengthBars({ lengths, maxLength }: { lengths: Schemas["Lengths"]; maxLength: number }) {
  const bins = lengths.bins ?? [];
  if (bins.length < 2) return null;
  const most = Math.max(...bins.map((bin) => bin.num_rows));
  return (
    <figure className="lengths">
      <div className="length-bars" aria-hidden="true">
        {bins.map((bin) => (
          <i
            key={bin.first}
            className={bin.first > maxLength ? "length-cut" : ""}
            title={`${count(bin.first)} to ${count(bin.last)} tokens: ${counted(bin.num_rows, "row")}`}
            style={{ height: `${String(bin.num_rows ? Math.max(4, (100 * bin.num_rows) / most) : 0)}%` }}
          />
        ))}
      </div>
      <figcaption className="muted small numeric">
        {count(bins[0]?.first)} to {count(lengths.longest)} tokens; half of the rows have at most {count(lengths.p50)}, 99% at most{" "}
        {count(lengths.p99)}
      </figcaption>
    </figure>
  );
}
