import type { CostChoice } from "../../api/costs";
import { useQueryState } from "../../router/router";
import { GROUPS } from "./choice";

/** What is summed up, and the period; kept in the address. */
export function Filters({ choice }: { choice: CostChoice }) {
  const [, setQuery] = useQueryState();
  return (
    <div className="toolbar cost-filters">
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
      <div className="toolbar">
        <Day label="From" value={choice.since} max={choice.until} onChange={(since) => { setQuery({ since }); }} />
        <Day label="Until" value={choice.until} min={choice.since} onChange={(until) => { setQuery({ until }); }} />
      </div>
    </div>
  );
}

interface DayProps {
  label: string;
  value: string;
  min?: string;
  max?: string;
  onChange: (value: string) => void;
}

function Day({ label, onChange, ...bounds }: DayProps) {
  return (
    <label className="day">
      <span className="muted">{label}</span>
      <input type="date" {...bounds} onChange={(event) => { onChange(event.target.value); }} />
    </label>
  );
}
