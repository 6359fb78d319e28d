import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useMemo, useState, type ReactNode } from "react";
import type { Job } from "../api/client";
import { jobKeys, type JobPages } from "../api/jobs";
import { notificationKeys } from "../api/notifications";
import { sessionKey } from "../api/session";
import { isTerminal } from "../format/status";
import { applyDeletion, applyEvents } from "./apply";
import { LiveConnection, type LinkState } from "./connection";

const KINDS = ["status", "progress", "metrics", "notice", "checkpoint"];
const DETAIL_KINDS = [...KINDS, "log", "sample"];
/** At most this often are queries repeated because of events. */
const REFRESH_MS = 1000;
const POLL_MS = 3000;
/** The notifier makes notifications of events about once a second, and later while it is busy. */
const NOTIFIED_MS = [1500, 6000];

interface Live {
  state: LinkState;
  /** Since when the connection is lost. */
  lostAt: number | null;
  /** Also receive log lines and samples, which only the page of a job shows. */
  wantDetail(wanted: boolean): void;
}

const LiveContext = createContext<Live>({ state: "connecting", lostAt: null, wantDetail: () => undefined });

export const useLive = (): Live => useContext(LiveContext);

/** While mounted, the stream has log lines and samples too. */
export function useDetailEvents(): void {
  const { wantDetail } = useLive();
  useEffect(() => {
    wantDetail(true);
    return () => { wantDetail(false); };
  }, [wantDetail]);
}

/** Keeps the cached data up to date while the page is visible. */
export function LiveProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [state, setState] = useState<LinkState>("connecting");
  const [lostAt, setLostAt] = useState<number | null>(null);
  const [detail, setDetail] = useState(false);
  const connection = useConnection(client, setState, setLostAt);

  useEffect(() => {
    const kinds = detail ? DETAIL_KINDS : KINDS;
    const follow = () => {
      if (document.hidden) connection.sleep();
      else connection.open(kinds);
    };
    follow();
    document.addEventListener("visibilitychange", follow);
    return () => {
      document.removeEventListener("visibilitychange", follow);
      connection.close();
    };
  }, [connection, detail]);

  usePolling(client, state === "polling");
  const live = useMemo(() => ({ state, lostAt, wantDetail: setDetail }), [state, lostAt]);
  return <LiveContext value={live}>{children}</LiveContext>;
}

function useConnection(
  client: QueryClient,
  setState: (state: LinkState) => void,
  setLostAt: (at: number | null | ((before: number | null) => number | null)) => void,
): LiveConnection {
  const [connection] = useState(() => {
    const refresh = collectStale(client);
    const refreshNotifications = collectNotified(client);
    // Before the first connection too: what was read before it may lack what happened in between.
    let wasLost = true;
    return new LiveConnection({
      onState(state) {
        setState(state);
        if (state === "lost") {
          wasLost = true;
          setLostAt((before) => before ?? Date.now());
        } else if (state === "live" || state === "polling") {
          // Queries may have failed in the meantime; the events that were missed follow.
          if (wasLost) void client.invalidateQueries({}, { cancelRefetch: false });
          wasLost = false;
          setLostAt(null);
        }
      },
      onEvents: (events) => {
        refresh(applyEvents(client, events));
        if (events.some(({ kind }) => kind === "status" || kind === "notice")) refreshNotifications();
      },
      onQueue: () => { refresh([["queue"], jobKeys.lists]); },
      onDeleted: (id) => {
        applyDeletion(client, id);
        refresh([["queue"], jobKeys.lists]);
      },
      onSignedOut: () => { client.setQueryData(sessionKey, null); },
      onGap: () => { void client.invalidateQueries(); },
    });
  });
  return connection;
}

/** Repeats stale queries, many events at once. */
function collectStale(client: QueryClient): (keys: (readonly string[])[]) => void {
  const stale = new Map<string, readonly string[]>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  return (keys) => {
    for (const key of keys) stale.set(key.join("\0"), key);
    timer ??= setTimeout(() => {
      timer = undefined;
      for (const key of stale.values()) void client.invalidateQueries({ queryKey: key, exact: key[0] === "job" && key.length === 2 });
      stale.clear();
    }, REFRESH_MS);
  };
}

/** Repeats the queries of notifications some time after events that are reported. */
function collectNotified(client: QueryClient): () => void {
  const timers = new Map<number, ReturnType<typeof setTimeout>>();
  return () => {
    for (const delay of NOTIFIED_MS) {
      if (timers.has(delay)) continue;
      timers.set(delay, setTimeout(() => {
        timers.delete(delay);
        void client.invalidateQueries({ queryKey: notificationKeys.all });
      }, delay));
    }
  };
}

/** Without a stream: repeat the queries while the page is visible and a job has not ended. */
function usePolling(client: QueryClient, isPolling: boolean): void {
  useEffect(() => {
    if (!isPolling) return;
    const timer = setInterval(() => {
      if (!document.hidden && hasUnfinished(client)) void client.invalidateQueries();
    }, POLL_MS);
    return () => { clearInterval(timer); };
  }, [client, isPolling]);
}

function hasUnfinished(client: QueryClient): boolean {
  const lists = client.getQueriesData<JobPages>({ queryKey: jobKeys.lists });
  const jobs = client.getQueriesData<Job>({ predicate: ({ queryKey }) => queryKey[0] === "job" && queryKey.length === 2 });
  const listed = lists.flatMap(([, pages]) => pages?.pages.flatMap((page) => page.data) ?? []);
  return [...listed, ...jobs.map(([, job]) => job)].some((job) => job !== undefined && !isTerminal(job.status));
}
