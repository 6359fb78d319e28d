import { lazy, Suspense, useRef } from "react";
import { number } from "../format/format";
import { Menu } from "../ui/Menu";
import { type XAxis } from "./axes";
import { describe, positiveOnly, toCsv, type Line, type Mark } from "./lines";
import { saveFile } from "./save";
import "./charts.css";

const Plot = lazy(() => import("./Plot"));
const NO_MARKS: Mark[] = [];

interface Props {
  title: string;
  lines: Line[];
  marks?: Mark[];
  axis: XAxis;
  isLog: boolean;
  height?: number;
  /** Beginning of the names of files that are saved. */
  fileName: string;
}

/** A chart with its title, its legend, and its data to take away. */
export function ChartPanel({ title, lines, marks = NO_MARKS, axis, isLog, height = 220, fileName }: Props) {
  const panel = useRef<HTMLElement>(null);
  const drawn = isLog ? lines.map(positiveOnly) : lines;
  const name = `${fileName}-${title}`;
  const items = [
    { label: "Save as CSV", run: () => { saveFile(`${name}.csv`, new Blob([toCsv(axis, lines)], { type: "text/csv" })); } },
    { label: "Save as PNG", run: () => { savePicture(panel.current, `${name}.png`); } },
  ];
  return (
    <section className="panel chart" aria-label={title} ref={panel}>
      <header className="toolbar">
        <h3>{title}</h3>
        <Legend lines={lines} />
        <Menu label={`Save the chart ${title}`} items={items} />
      </header>
      <Suspense fallback={<div className="plot" style={{ minHeight: height }} />}>
        <Plot
          lines={drawn}
          marks={marks}
          axis={axis}
          isLog={isLog}
          height={height}
          label={describe(title, lines, (value) => number(value))}
          syncKey={fileName}
        />
      </Suspense>
    </section>
  );
}

function Legend({ lines }: { lines: Line[] }) {
  const shown = lines.filter((line) => !line.isFaint);
  if (shown.length < 2) return <span className="legend" />;
  return (
    <ul className="legend">
      {shown.map((line) => (
        <li key={line.label} style={{ color: `var(${line.color})` }}>
          <svg viewBox="0 0 20 4" aria-hidden="true">
            <path d="M0 2h20" strokeDasharray={line.dash?.join(" ")} />
          </svg>
          <span>{line.label}</span>
        </li>
      ))}
    </ul>
  );
}

function savePicture(panel: HTMLElement | null, name: string): void {
  panel?.querySelector("canvas")?.toBlob((picture) => {
    if (picture) saveFile(name, picture);
  });
}
