/** The query of what jobs cost, and the address of the same sums as CSV. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { http, unwrap, type Schemas } from "./client";

export type CostGroup = Schemas["CostGroup"];
export type CostSum = Schemas["CostSum"];

/** What is summed up; days are `2026-03-01`, and empty where the period is open. */
export interface CostChoice {
  by: CostGroup;
  since: string;
  until: string;
}

const queryOf = ({ by, since, until }: CostChoice) => ({ by, ...(since ? { since } : {}), ...(until ? { until } : {}) });

export const costsQuery = (choice: CostChoice) =>
  queryOptions({
    queryKey: ["costs", choice.by, choice.since, choice.until],
    // An attempt gets its record after the event of its end.
    staleTime: 0,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) => unwrap(http.GET("/api/costs", { params: { query: queryOf(choice) }, signal })),
  });

export const costsCsvAddress = (choice: CostChoice): string =>
  `/api/costs?${new URLSearchParams({ ...queryOf(choice), format: "csv" }).toString()}`;
