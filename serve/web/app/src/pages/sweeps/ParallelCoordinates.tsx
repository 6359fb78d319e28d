import type { Sweep, Trial } from "../../api/sweeps";
import { number } from "../../format/format";
import { axesOf, goodnessOf, shortName, shown, type Axis } from "./axes";

const WIDTH = 800;
const HEIGHT = 280;
const TOP = 34;
const BOTTOM = 18;
const SIDE = 70;

interface Props {
  sweep: Sweep;
  /** Number of the trial that is pointed at, here or in the table. */
  pointed: number | null;
  onPoint: (trial: number | null) => void;
}

/** One line for each trial through its values; the better its result, the stronger its colour. */
export function ParallelCoordinates({ sweep, pointed, onPoint }: Props) {
  const axes = axesOf(sweep);
  const goodness = goodnessOf(sweep);
  const drawn = sweep.trials.filter(({ value }) => typeof value === "number");
  const ordered = [...drawn].sort((a, b) => (goodness(a) ?? 0) - (goodness(b) ?? 0));
  const trial = drawn.find((each) => each.number === pointed);
  return (
    <section className="panel" aria-label="Parallel coordinates">
      <header className="toolbar">
        <h2>Values and results</h2>
        <p className="muted small">{trial ? described(sweep, trial) : "Strong lines have the best results; point at one to see its values."}</p>
      </header>
      <div className="coordinates-scroll" tabIndex={0} role="group" aria-label="Values and results of the trials">
        <svg
          className="coordinates"
          viewBox={`0 0 ${String(WIDTH)} ${String(HEIGHT)}`}
          role="img"
          aria-label={`${String(drawn.length)} trials as lines through their values; the table below has the same`}
          onPointerLeave={() => { onPoint(null); }}
        >
          {axes.map((axis, index) => <AxisLine key={axis.name} axis={axis} x={xOf(index, axes.length)} />)}
          {ordered.map((each) => (
            <path
              key={each.number}
              className={each.number === pointed ? "trial-line trial-pointed" : "trial-line"}
              d={pathOf(each, axes)}
              strokeOpacity={each.number === pointed ? 1 : 0.12 + 0.78 * (goodness(each) ?? 0) ** 2}
              onPointerEnter={() => { onPoint(each.number); }}
            />
          ))}
        </svg>
      </div>
    </section>
  );
}

function AxisLine({ axis, x }: { axis: Axis; x: number }) {
  return (
    <g className="axis">
      <line x1={x} x2={x} y1={TOP} y2={HEIGHT - BOTTOM} />
      <text x={x} y={14} textAnchor="middle" className="axis-name">{shortName(axis.name)}</text>
      {axis.ticks.map(({ at, label }) => (
        <text key={label} x={x + 6} y={yOf(at) + 4}>{label}</text>
      ))}
    </g>
  );
}

const xOf = (index: number, count: number): number => SIDE + ((WIDTH - 2 * SIDE) * index) / Math.max(1, count - 1);
const yOf = (place: number): number => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * place;

function pathOf(trial: Trial, axes: Axis[]): string {
  const points = axes.flatMap((axis, index) => {
    const place = axis.place(index === axes.length - 1 ? trial.value : trial.parameters[axis.name]);
    return place === null ? [] : [`${xOf(index, axes.length).toFixed(1)},${yOf(place).toFixed(1)}`];
  });
  return `M${points.join("L")}`;
}

function described(sweep: Sweep, trial: Trial): string {
  const values = Object.entries(trial.parameters).map(([name, value]) => `${name} ${shown(value)}`);
  return `Trial ${String(trial.number)}: ${values.join(", ")}; ${sweep.objective.metric} ${number(trial.value)}`;
}
