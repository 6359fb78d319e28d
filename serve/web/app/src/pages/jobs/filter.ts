/** The filter of the list of jobs, as the address has it. */
import type { JobFilter } from "../../api/jobs";
import { STATUS_GROUPS } from "../../format/status";

export const GROUP = "show";
export const SEARCH = "q";

/** Unknown words in the address are ignored, as if they were not there. */
export function filterOf(query: URLSearchParams): JobFilter {
  const group = STATUS_GROUPS.find(({ name }) => name === query.get(GROUP));
  return { statuses: group?.statuses ?? [], search: (query.get(SEARCH) ?? "").trim().slice(0, 200) };
}
