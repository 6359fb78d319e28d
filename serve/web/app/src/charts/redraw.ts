/** Redraws charts one at a time: a chart that is out of sight waits, and each frame of the page draws one at most. */

/** Draws again on request, at some later frame; `stop` when the chart is gone. */
export interface Redraw {
  request(): void;
  stop(): void;
}

const waiting = new Set<() => void>();
let frame: number | null = null;

export function redrawOf(element: Element, draw: () => void): Redraw {
  let isVisible = true;
  let isWanted = false;
  const request = () => {
    isWanted = true;
    if (isVisible) enqueue(drawNow);
  };
  const drawNow = () => {
    isWanted = false;
    draw();
  };
  const sight = new IntersectionObserver((entries) => {
    isVisible = entries.at(-1)?.isIntersecting ?? true;
    if (isVisible && isWanted) request();
    if (!isVisible) waiting.delete(drawNow);
  });
  sight.observe(element);
  return {
    request,
    stop() {
      sight.disconnect();
      waiting.delete(drawNow);
    },
  };
}

function enqueue(draw: () => void): void {
  waiting.add(draw);
  frame ??= requestAnimationFrame(next);
}

function next(): void {
  const [draw] = waiting;
  frame = waiting.size > 1 ? requestAnimationFrame(next) : null;
  if (!draw) return;
  waiting.delete(draw);
  draw();
}
