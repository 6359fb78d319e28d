/** The names of the columns of a file, as far as its beginning shows them. */

const HEAD_BYTES = 65_536;

export async function columnsOf(file: File): Promise<string[]> {
  return namesIn(file.name, await file.slice(0, HEAD_BYTES).text());
}

export function namesIn(filename: string, head: string): string[] {
  const suffix = filename.toLowerCase().split(".").at(-1);
  const first = head.replace(/^\ufeff/, "").split(/\r?\n/).find((line) => line.trim() !== "") ?? "";
  if (suffix === "tsv") return cells(first, "\t");
  if (suffix === "csv") return cells(first, first.includes(";") && !first.includes(",") ? ";" : ",");
  if (suffix === "jsonl" || suffix === "ndjson") return keysOf(first);
  return [];
}

function cells(line: string, delimiter: string): string[] {
  return line
    .split(delimiter)
    .map((cell) => cell.trim().replace(/^"(.*)"$/, "$1").replaceAll('""', '"'))
    .filter(Boolean);
}

function keysOf(line: string): string[] {
  try {
    const row: unknown = JSON.parse(line);
    return row !== null && typeof row === "object" && !Array.isArray(row) ? Object.keys(row) : [];
  } catch {
    return [];
  }
}
