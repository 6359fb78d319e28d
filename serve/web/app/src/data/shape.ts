import type { Dataset } from "../api/datasets";
import { bytes, counted } from "../format/format";

const KINDS: Record<string, string> = {
  messages: "conversation",
  preference: "pair",
  unpaired: "rated answer",
  text: "text",
  prompts: "prompt",
};

/** `240 conversations, read as prompt_completion from csv, 31 kB`. */
export function summaryOf(dataset: Dataset): string {
  const rows = counted(dataset.num_rows, KINDS[dataset.kind ?? ""] ?? "row");
  return `${rows}, read as ${dataset.shape} from ${dataset.format}, ${bytes(dataset.size_bytes)}`;
}

/** What the user ought to know about how the file was read. */
export function remarksOf(dataset: Dataset): string[] {
  const remarks: string[] = [];
  const unused = (dataset.fields ?? []).filter((field) => !field.used_as).map((field) => field.name);
  if ((dataset.confidence ?? 1) < 1) {
    remarks.push(`The shape is a guess (${String(Math.round((dataset.confidence ?? 1) * 100))}% certain): look at the rows.`);
  }
  if (dataset.num_skipped) remarks.push(`${counted(dataset.num_skipped, "row")} could not be read and were skipped.`);
  if (unused.length) remarks.push(`Not used: ${unused.join(", ")}.`);
  return remarks;
}
