import uPlot from "uplot";
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
  let text = "";
  return {
    hooks: {
      init: (plot) => { plot.over.append(box); },
      destroy: () => { box.remove(); },
      setCursor(plot) {
        const { idx, left } = plot.cursor;
        if (idx === null || idx === undefined || left === undefined || left < 0) {
          box.hidden = true;
          return;
        }
        const lines = rows(plot, shown(), idx, left);
        const after = lines.map((line) => line.text).join("\n");
        // Another drawing of the same text would have the browser lay out the page in each movement of the mouse.
        if (after !== text) box.replaceChildren(...lines.map(element));
        text = after;
        box.hidden = false;
        // The width that uPlot knows, because reading that of the element lays out the page.
        const isRight = left > plot.bbox.width / uPlot.pxRatio / 2;
        box.style.transform = isRight ? `translateX(calc(${String(left - 12)}px - 100%))` : `translateX(${String(left + 12)}px)`;
      },
    },
  };
}

interface Row {
  text: string;
  isQuiet?: boolean | undefined;
}

function rows(plot: uPlot, { lines, marks, axis }: Shown, index: number, left: number): Row[] {
  const x = plot.data[0][index] ?? 0;
  const name = X_AXES.find((known) => known.name === axis)?.label ?? "";
  const values = lines.flatMap((line, number_) => {
    const value = plot.data[number_ + 1]?.[index];
    return value === null || value === undefined ? [] : [{ text: `${line.label}  ${number(value)}`, isQuiet: line.isFaint }];
  });
  const near = marks.filter((mark) => Math.abs(plot.valToPos(mark.x, "x") - left) < NEAR_PX);
  return [{ text: `${name} ${formatX(axis, x)}`, isQuiet: true }, ...values, ...near.map(({ label }) => ({ text: label, isQuiet: true }))];
}

function element({ text, isQuiet }: Row): HTMLElement {
  const line = document.createElement("div");
  if (isQuiet) line.className = "muted";
  line.textContent = text;
  return line;
}
