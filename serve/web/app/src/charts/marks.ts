import type uPlot from "uplot";
import { colorOf } from "../theme/theme";
import type { Mark } from "./lines";

const RATIO = () => window.devicePixelRatio || 1;

/** Checkpoints are small triangles at the bottom, the best one is filled; a retry is a dashed line. */
export function drawMarks(marks: () => Mark[]): uPlot.Plugin {
  return {
    hooks: {
      draw(plot) {
        const { ctx, bbox } = plot;
        ctx.save();
        for (const mark of marks()) {
          const x = plot.valToPos(mark.x, "x", true);
          if (x < bbox.left || x > bbox.left + bbox.width) continue;
          if (mark.kind === "retry") drawRetry(ctx, x, bbox);
          else drawCheckpoint(ctx, x, bbox.top + bbox.height, mark.kind === "best");
        }
        ctx.restore();
      },
    },
  };
}

function drawRetry(ctx: CanvasRenderingContext2D, x: number, bbox: uPlot.BBox): void {
  ctx.strokeStyle = colorOf("--warn");
  ctx.lineWidth = RATIO();
  ctx.setLineDash([4 * RATIO(), 4 * RATIO()]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.setLineDash([]);
}

function drawCheckpoint(ctx: CanvasRenderingContext2D, x: number, bottom: number, isBest: boolean): void {
  const size = 5 * RATIO();
  ctx.strokeStyle = ctx.fillStyle = colorOf(isBest ? "--good" : "--muted");
  ctx.lineWidth = 1.5 * RATIO();
  ctx.beginPath();
  ctx.moveTo(x - size, bottom);
  ctx.lineTo(x + size, bottom);
  ctx.lineTo(x, bottom - 1.6 * size);
  ctx.closePath();
  if (isBest) ctx.fill();
  else ctx.stroke();
}
