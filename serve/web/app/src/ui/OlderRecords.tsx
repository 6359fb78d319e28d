import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import { Button } from "./Button";

/** The button below a list that fetches its next page, if there is one. */
export function OlderRecords({ list, label }: { list: UseInfiniteQueryResult; label: string }) {
  if (!list.hasNextPage) return null;
  return (
    <div className="more">
      <Button disabled={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>{label}</Button>
    </div>
  );
}
