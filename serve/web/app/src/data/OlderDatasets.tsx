import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import { Button } from "../ui/Button";

/** Adds older datasets to a choice that has only the newest ones. */
export function OlderDatasets({ list }: { list: Pick<UseInfiniteQueryResult, "hasNextPage" | "isFetchingNextPage" | "fetchNextPage"> }) {
  if (!list.hasNextPage) return null;
  return (
    <Button look="ghost" disabled={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>
      List older datasets too
    </Button>
  );
}
