import { useQuery } from "@tanstack/react-query";
import type { JobEvent, Schemas } from "../../api/client";
import { eventsQuery } from "../../api/jobParts";
import { bytes, dateTime } from "../../format/format";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import type { TabProps } from "./JobPage";

const KINDS: Schemas["EventKind"][] = ["status", "notice", "checkpoint"];

/** What happened to the job, newest first. Steps and log lines have their own tabs. */
export default function EventsTab({ job }: TabProps) {
  const { data, error, refetch } = useQuery(eventsQuery(job.id, "events", KINDS));
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (!data) return <Loading />;
  if (data.length === 0) return <EmptyState title="No events yet"><p>They appear as soon as something happens to the job.</p></EmptyState>;
  return (
    <ol className="bordered-list events">
      {data.toReversed().map((event) => (
        <li key={event.seq}>
          <span className={`event-kind event-${event.kind}`}>{kindOf(event)}</span>
          <span className="event-text">{textOfEvent(event)}</span>
          <span className="muted small">
            {dateTime(event.at)}
            {event.attempt > 0 && `, attempt ${String(event.attempt)}`}
          </span>
        </li>
      ))}
    </ol>
  );
}

function kindOf(event: JobEvent): string {
  if (event.kind === "status") return (event.data as Schemas["StatusPayload"]).status;
  if (event.kind === "notice") return (event.data as Schemas["NoticePayload"]).code.replaceAll("_", " ");
  return event.kind;
}

function textOfEvent(event: JobEvent): string {
  if (event.kind === "checkpoint") {
    const data = event.data as Schemas["CheckpointPayload"];
    return `Saved step ${String(data.step)} (${bytes(data.size_bytes)})${data.is_best ? ", the best so far" : ""}.`;
  }
  return (event.data as { message?: string }).message ?? "";
}
