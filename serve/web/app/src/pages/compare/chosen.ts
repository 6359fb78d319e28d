/** The jobs that are compared, as the address has them. */

export const JOBS = "jobs";
/** Runs that one chart can show: each has a colour and a dash of its own. */
export const MAX_COMPARED = 10;

export function chosenJobs(query: URLSearchParams): string[] {
  const ids = (query.get(JOBS) ?? "").split(",").filter((id) => id !== "");
  return [...new Set(ids)].slice(0, MAX_COMPARED);
}

const DASHES: (number[] | undefined)[] = [undefined, [8, 4], [2, 3], [10, 3, 2, 3], [5, 5]];

/** How the line of the run with this number is drawn. */
export function styleOf(index: number): { color: string; dash?: number[] } {
  const dash = DASHES[index % DASHES.length];
  return { color: `--run-${String((index % MAX_COMPARED) + 1)}`, ...(dash ? { dash } : {}) };
}
