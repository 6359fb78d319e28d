import { useQuery } from "@tanstack/react-query";
import { useDeferredValue, useEffect, useRef, useState } from "react";
import { useShortcuts } from "../../app/keys";
import type { Schemas } from "../../api/client";
import { logsQuery } from "../../api/jobParts";
import { clock, counted } from "../../format/format";
import { Button } from "../../ui/Button";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { Icon } from "../../ui/Icon";
import { matching, parts } from "./search";
import type { TabProps } from "./JobPage";

type LogLine = Schemas["LogLine"];

const FIRST_LINES = 500;
const ALL_LINES = 5000;

export default function LogsTab({ job }: TabProps) {
  const [tail, setTail] = useState(FIRST_LINES);
  const [search, setSearch] = useState("");
  const [isFollowing, setFollowing] = useState(true);
  const wanted = useDeferredValue(search);
  const { data, error, refetch } = useQuery(logsQuery(job.id, tail));
  useShortcuts([
    { keys: "/", label: "Search the log", run: () => document.getElementById("log-search")?.focus() },
    { keys: "f", label: "Follow the log", run: () => { setFollowing(!isFollowing); } },
  ]);
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (!data) return <Loading />;
  if (data.length === 0) {
    return <EmptyState title="The log is empty"><p>Its lines appear here as soon as the job reports something.</p></EmptyState>;
  }
  const lines = matching(data, wanted);
  return (
    <>
      <div className="log-bar">
        <label className="search">
          <Icon name="search" />
          <span className="visually-hidden">Search the log</span>
          <input id="log-search" type="search" placeholder="Search the log" value={search} onChange={(event) => { setSearch(event.target.value); }} />
        </label>
        <label className="check">
          <input type="checkbox" checked={isFollowing} onChange={(event) => { setFollowing(event.target.checked); }} />
          Follow
        </label>
        <span className="muted small" role="status">{wanted && counted(lines.length, "line matches", "lines match")}</span>
        <a className="button" href={`/api/training/jobs/${job.id}/download/logs`} download>
          <Icon name="download" /> All logs
        </a>
      </div>
      {data.length >= tail && tail < ALL_LINES && (
        <Button look="ghost" onClick={() => { setTail(ALL_LINES); }}>Show older lines</Button>
      )}
      <Lines lines={lines} search={wanted} isFollowing={isFollowing} onLeave={() => { setFollowing(false); }} />
    </>
  );
}

interface LinesProps {
  lines: LogLine[];
  search: string;
  isFollowing: boolean;
  onLeave: () => void;
}

function Lines({ lines, search, isFollowing, onLeave }: LinesProps) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (isFollowing && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, isFollowing]);
  return (
    <div
      ref={box}
      className="log"
      role="log"
      aria-label="Log"
      aria-live="off"
      tabIndex={0}
      onWheel={(event) => { if (event.deltaY < 0) onLeave(); }}
      onKeyDown={(event) => { if (["ArrowUp", "PageUp", "Home"].includes(event.key)) onLeave(); }}
    >
      {lines.map((line, index) => (
        <div key={index} className={`log-line log-${line.level}`}>
          <time dateTime={line.at}>{clock(line.at)}</time>
          <span>
            {parts(line.text, search).map(({ text, isMatch }, at) => (isMatch ? <mark key={at}>{text}</mark> : text))}
          </span>
        </div>
      ))}
    </div>
  );
}
