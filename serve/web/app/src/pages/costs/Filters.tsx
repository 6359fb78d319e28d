import type { CostChoice } from "../../api/costs";
import { useQueryState } from "../../router/router";
import { GROUPS } from "./choice";

/** What is summed up, and the period; kept in the address. */
export function Filters({ choice }: { choice: CostChoice }) {
  const [, setQuery] = useQueryState();
  return (
    <div className="cost-filters">
      <div className="chips" role="group" aria-label="Sums by">
        {GROUPS.map(({ name, label }) => (
          <button
            key={name}
            type="button"
            className="chip"
            aria-pressed={choice.by === name}
            onClick={() => { setQuery({ by: name === "model" ? null : name }); }}
          >
            {label}
          </button>
        ))}
      </div>
      <label className="day">
        <span className="muted">From</span>
        <input
          type="date"
          value={choice.since}
          max={choice.until}
          onChange={(event) => { setQuery({ since: event.target.value }); }}
        />
      </label>
      <label className="day">
        <span className="muted">Until</span>
        <input
          type="date"
          value={choice.until}
          min={choice.since}
          onChange={(event) => { setQuery({ until: event.target.value }); }}
        />
      </label>
    </div>
  );
}
