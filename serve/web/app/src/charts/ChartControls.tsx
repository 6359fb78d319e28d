import { useQueryState } from "../router/router";
import { useShortcuts } from "../app/keys";
import { X_AXES, type XAxis } from "./axes";

export interface ChartSettings {
  /** Weight of the moving average, 0 to 0.99. */
  smoothing: number;
  isLog: boolean;
  axis: XAxis;
}

export const DEFAULT_SMOOTHING = 0.6;
const MAX_SMOOTHING = 0.99;

/** The settings of the charts, as the address has them. */
export function useChartSettings(): [ChartSettings, (changes: Partial<ChartSettings>) => void] {
  const [query, setQuery] = useQueryState();
  const given = Number.parseFloat(query.get("smooth") ?? "");
  const smoothing = Number.isNaN(given) ? DEFAULT_SMOOTHING : Math.min(MAX_SMOOTHING, Math.max(0, given));
  const axis = X_AXES.find(({ name }) => name === query.get("x"))?.name ?? "step";
  return [
    { smoothing, axis, isLog: query.get("log") === "1" },
    (changes) => {
      const text: Record<string, string | null> = {};
      if (changes.smoothing !== undefined) {
        text["smooth"] = changes.smoothing === DEFAULT_SMOOTHING ? null : String(changes.smoothing);
      }
      if (changes.axis !== undefined) text["x"] = changes.axis === "step" ? null : changes.axis;
      if (changes.isLog !== undefined) text["log"] = changes.isLog ? "1" : null;
      setQuery(text);
    },
  ];
}

interface Props {
  settings: ChartSettings;
  onChange: (changes: Partial<ChartSettings>) => void;
  axes: XAxis[];
}

export function ChartControls({ settings, onChange, axes }: Props) {
  const { smoothing, axis, isLog } = settings;
  const turn = () => { onChange({ axis: axes[(axes.indexOf(axis) + 1) % axes.length] ?? "step" }); };
  const smooth = (by: number) => {
    onChange({ smoothing: Math.min(MAX_SMOOTHING, Math.max(0, Math.round((smoothing + by) * 100) / 100)) });
  };
  useShortcuts([
    { keys: "s", label: "Smooth the curves more", run: () => { smooth(0.1); } },
    { keys: "S", label: "Smooth the curves less", run: () => { smooth(-0.1); } },
    { keys: "y", label: "Logarithmic scale", run: () => { onChange({ isLog: !isLog }); } },
    { keys: "x", label: "Step, epoch or time", run: turn },
  ]);
  return (
    <div className="chart-controls">
      <label>
        Smoothing
        <input
          type="range"
          min={0}
          max={MAX_SMOOTHING}
          step={0.01}
          value={smoothing}
          onChange={(event) => { onChange({ smoothing: Number(event.target.value) }); }}
        />
        <output className="numeric">{smoothing.toFixed(2)}</output>
      </label>
      <label>
        <input type="checkbox" checked={isLog} onChange={(event) => { onChange({ isLog: event.target.checked }); }} />
        Log scale
      </label>
      <div className="segments" role="group" aria-label="X axis">
        {X_AXES.filter(({ name }) => axes.includes(name)).map(({ name, label }) => (
          <button key={name} type="button" aria-pressed={axis === name} onClick={() => { onChange({ axis: name }); }}>
            {label}
          </button>
        ))}
      </div>
    </div>
  );
}
