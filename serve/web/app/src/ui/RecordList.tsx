import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Button } from "./Button";
import { ErrorNote, Loading } from "./Notes";

interface Props {
  list: UseInfiniteQueryResult;
  /** What is shown where there is no record. */
  empty: ReactNode;
  isEmpty: boolean;
  /** What the button says that fetches the next page. */
  older: string;
  children: ReactNode;
}

/** The records of a list as `children`, while they are loaded and when they are there; the button below them fetches more. */
export function RecordList({ list, empty, isEmpty, older, children }: Props) {
  return (
    <>
      {list.isPending && <Loading lines={6} />}
      {list.isError && <ErrorNote error={list.error} retry={() => void list.refetch()} />}
      {list.isSuccess && isEmpty && empty}
      {!isEmpty && children}
      {list.hasNextPage && (
        <div className="more">
          <Button disabled={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>{older}</Button>
        </div>
      )}
    </>
  );
}
