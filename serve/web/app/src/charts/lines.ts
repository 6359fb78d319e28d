/** What a chart draws: lines and marks, as plain data. */

export interface Line {
  label: string;
  xs: number[];
  ys: number[];
  /** Name of the colour in the style sheet. */
  color: string;
  dash?: number[];
  /** In the background: the measured values behind a smoothed line. */
  isFaint?: boolean;
  /** Few points, each with a dot. */
  hasPoints?: boolean;
}

export interface Mark {
  x: number;
  kind: "checkpoint" | "best" | "retry";
  label: string;
}

/** One array of x values and one of y values for each line, as uPlot takes them. */
export function aligned(lines: Line[]): (number | null)[][] {
  const xs = [...new Set(lines.flatMap((line) => line.xs))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, index) => [x, index]));
  const columns = lines.map((line) => {
    const column = new Array<number | null>(xs.length).fill(null);
    line.xs.forEach((x, index) => {
      column[place.get(x) ?? 0] = line.ys[index] ?? null;
    });
    return column;
  });
  return [xs, ...columns];
}

/** A logarithmic axis has no place for zero and below. */
export function positiveOnly(line: Line): Line {
  const isKept = line.ys.map((y) => y > 0);
  return { ...line, xs: line.xs.filter((_, index) => isKept[index]), ys: line.ys.filter((y) => y > 0) };
}

/** What the lines show, in words, for people who do not see the drawing. */
export function describe(title: string, lines: Line[], format: (value: number) => string): string {
  const parts = lines
    .filter((line) => !line.isFaint && line.ys.length > 0)
    .map((line) => {
      const low = line.ys.reduce((a, b) => Math.min(a, b), Infinity);
      const [first, last] = [line.ys[0] ?? 0, line.ys.at(-1) ?? 0];
      return `${line.label}: from ${format(first)} to ${format(last)}, lowest ${format(low)}`;
    });
  return `Chart of ${title}. ${parts.join("; ")}.`;
}

/** The lines as a CSV file, one row for each x. */
export function toCsv(xName: string, lines: Line[]): string {
  const [xs = [], ...columns] = aligned(lines);
  const head = [xName, ...lines.map((line) => line.label)].map(quoted).join(",");
  const rows = xs.map((x, index) => [x, ...columns.map((column) => column[index] ?? "")].join(","));
  return [head, ...rows, ""].join("\n");
}

function quoted(text: string): string {
  // A spreadsheet takes a cell that begins with one of these for a formula.
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
