import type uPlot from "uplot";
import { number } from "../format/format";
import { formatX, X_AXES, type XAxis } from "./axes";
import type { Line, Mark } from "./lines";

interface Shown {
  lines: Line[];
  marks: Mark[];
  axis: XAxis;
}

const NEAR_PX = 6;

/** The values under the cursor, beside it. Text only: a name of a job is never HTML. */
export function tooltip(shown: () => Shown): uPlot.Plugin {
  const box = document.createElement("div");
  box.className = "tooltip";
  box.hidden = true;
  return {
    hooks: {
      init: (plot) => { plot.over.append(box); },
      destroy: () => { box.remove(); },
      setCursor(plot) {
        const { idx, left } = plot.cursor;
        box.hidden = idx === null || idx === undefined || left === undefined || left < 0;
        if (box.hidden || idx === null || idx === undefined || left === undefined) return;
        box.replaceChildren(...rows(plot, shown(), idx, left));
        const isRight = left > plot.over.clientWidth / 2;
        box.style.left = isRight ? "" : `${String(left + 12)}px`;
        box.style.right = isRight ? `${String(plot.over.clientWidth - left + 12)}px` : "";
      },
    },
  };
}

function rows(plot: uPlot, { lines, marks, axis }: Shown, index: number, left: number): HTMLElement[] {
  const x = plot.data[0][index] ?? 0;
  const name = X_AXES.find((known) => known.name === axis)?.label ?? "";
  const values = lines.flatMap((line, number_) => {
    const value = plot.data[number_ + 1]?.[index];
    return value === null || value === undefined ? [] : [row(`${line.label}  ${number(value)}`, line.isFaint)];
  });
  const near = marks.filter((mark) => Math.abs(plot.valToPos(mark.x, "x") - left) < NEAR_PX);
  return [row(`${name} ${formatX(axis, x)}`, true), ...values, ...near.map((mark) => row(mark.label, true))];
}

function row(text: string, isQuiet?: boolean): HTMLElement {
  const line = document.createElement("div");
  if (isQuiet) line.className = "muted";
  line.textContent = text;
  return line;
}
