const WIDTH = 96;
const HEIGHT = 24;
const PAD = 2;

/** The path of a line through `values`, scaled to the drawing. */
export function sparkPath(steps: number[], values: number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const first = steps[0] ?? 0;
  const width = (steps.at(-1) ?? 0) - first;
  const range = high - low;
  return values
    .map((value, index) => {
      const x = PAD + ((WIDTH - 2 * PAD) * ((steps[index] ?? 0) - first)) / (width || 1);
      const y = range ? PAD + (HEIGHT - 2 * PAD) * (1 - (value - low) / range) : HEIGHT / 2;
      return `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}

/** A small curve without axes; the number beside it says what it means. */
export function Sparkline({ steps, values }: { steps: number[]; values: number[] }) {
  if (values.length < 2) return <span className="spark" />;
  return (
    <svg className="spark" viewBox={`0 0 ${String(WIDTH)} ${String(HEIGHT)}`} aria-hidden="true" focusable="false">
      <path d={sparkPath(steps, values)} />
    </svg>
  );
}
