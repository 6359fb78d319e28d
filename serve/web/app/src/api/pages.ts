/** Lists that the service gives page by page. */
import type { InfiniteData } from "@tanstack/react-query";

/** Options of a query whose pages are fetched one after another; `after` is its page parameter. */
export const paged = {
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page: { next_cursor?: string | null }) => page.next_cursor ?? undefined,
};

/** The parameters of one page. */
export const pageQuery = (limit: number, after: string | undefined) => ({ limit, ...(after === undefined ? {} : { after }) });

/** The records of all pages so far. */
export const recordsOf = <T>(data: InfiniteData<{ data: T[] }> | undefined): T[] => data?.pages.flatMap((page) => page.data) ?? [];
