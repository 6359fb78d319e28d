/** Which sums the page of costs shows, as its address says. */
import type { CostChoice, CostGroup } from "../../api/costs";

export const GROUPS: { name: CostGroup; label: string; column: string }[] = [
  { name: "model", label: "Model", column: "Base model" },
  { name: "job", label: "Job", column: "Job" },
  { name: "owner", label: "Owner", column: "Owner" },
  { name: "day", label: "Day", column: "Day, UTC" },
  { name: "month", label: "Month", column: "Month, UTC" },
];

const DAY = /^\d{4}-\d{2}-\d{2}$/;

export function choiceOf(query: URLSearchParams): CostChoice {
  const by = GROUPS.find(({ name }) => name === query.get("by"))?.name ?? "model";
  const day = (name: string) => {
    const value = query.get(name) ?? "";
    return DAY.test(value) && !Number.isNaN(Date.parse(value)) ? value : "";
  };
  return { by, since: day("since"), until: day("until") };
}
