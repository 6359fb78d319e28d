/** Draws lines with uPlot. Loaded only with a page that has a chart. */
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { colorOf, useIsDark } from "../theme/theme";
import { formatX, labelPlaces, yLabels, type XAxis } from "./axes";
import { aligned, type Line, type Mark } from "./lines";
import { drawMarks } from "./marks";
import { redrawOf, type Redraw } from "./redraw";
import { tooltip } from "./tooltip";

export interface PlotProps {
  lines: Line[];
  marks: Mark[];
  axis: XAxis;
  isLog: boolean;
  height: number;
  label: string;
  /** Charts with the same key show the cursor at the same place. */
  syncKey: string;
}

export default function Plot(props: PlotProps) {
  const { lines, marks, axis, isLog, height, label, syncKey } = props;
  const box = useRef<HTMLDivElement>(null);
  const redraw = useRef<Redraw | null>(null);
  const current = useRef(props);
  const isDark = useIsDark();
  // What makes another drawing; other data only moves its lines.
  const form = JSON.stringify([axis, isLog, height, isDark, lines.map((line) => [line.label, line.color, line.isFaint])]);

  useEffect(() => {
    current.current = { lines, marks, axis, isLog, height, label, syncKey };
    redraw.current?.request();
  }, [lines, marks, axis, isLog, height, label, syncKey]);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const made = new uPlot(options(current, element.clientWidth), aligned(current.current.lines) as uPlot.AlignedData, element);
    const redrawn = redrawOf(element, () => { made.setData(aligned(current.current.lines) as uPlot.AlignedData); });
    redraw.current = redrawn;
    const sized = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height: current.current.height });
    });
    sized.observe(element);
    return () => {
      sized.disconnect();
      redrawn.stop();
      made.destroy();
      redraw.current = null;
    };
  }, [form]);

  return <div ref={box} className="plot" role="img" aria-label={label} style={{ minHeight: height }} />;
}

function options(current: { current: PlotProps }, width: number): uPlot.Options {
  const { lines, axis, isLog, height, syncKey } = current.current;
  const ink = { stroke: colorOf("--muted"), grid: { stroke: colorOf("--border"), width: 1 }, font: "12px " + FONT };
  return {
    width,
    height,
    padding: [12, 28, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: syncKey }, points: { size: 7 }, y: false, focus: { prox: 24 } },
    scales: { x: { time: false }, y: isLog ? { distr: 3 } : {} },
    axes: [
      { ...ink, ticks: { show: false }, size: 28, ...labelPlaces(axis), values: (_, values) => values.map((value) => formatX(axis, value)) },
      { ...ink, ticks: { show: false }, size: 56, values: (_, values) => yLabels(values) },
    ],
    series: [{}, ...lines.map(seriesOptions)],
    plugins: [tooltip(() => current.current), drawMarks(() => current.current.marks)],
  };
}

const FONT = "Inter, system-ui, sans-serif";

function seriesOptions(line: Line): uPlot.Series {
  return {
    label: line.label,
    stroke: colorOf(line.color),
    width: line.isFaint ? 1 : 2,
    alpha: line.isFaint ? 0.28 : 1,
    spanGaps: true,
    points: { show: line.hasPoints ?? false, size: 5 },
    ...(line.dash ? { dash: line.dash } : {}),
  };
}
