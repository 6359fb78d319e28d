import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { useTitle } from "../../app/useTitle";
import { devicesQuery, queueQuery, type Queue } from "../../api/queue";
import { Link } from "../../router/Link";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { TakenOut } from "../nodes/TakenOut";
import { Devices } from "./Devices";
import { QueueList } from "./QueueList";
import { Running } from "./Running";
import "./queue.css";

export default function QueuePage() {
  useTitle("Queue");
  const { data: queue, error, refetch } = useQuery(queueQuery);
  // Nothing is shown before both have arrived: the devices would push the queue down.
  const { isPending } = useQuery(devicesQuery);
  if (isPending || (!queue && !error)) return <Page><Loading lines={6} /></Page>;
  return (
    <Page>
      <Devices />
      {error && <ErrorNote error={error} retry={() => void refetch()} />}
      {queue && <TakenOut gpus={queue.gpus_out} />}
      {queue && <Content queue={queue} />}
    </Page>
  );
}

function Page({ children }: { children: ReactNode }) {
  return (
    <>
      <div className="page-head">
        <h1>Queue</h1>
      </div>
      {children}
    </>
  );
}

function Content({ queue }: { queue: Queue }) {
  if (queue.running.length === 0 && queue.queued.length === 0) {
    return (
      <EmptyState title="Nothing runs, and nothing waits">
        <p>
          <Link to="/new">Submit a job</Link>: it starts as soon as its data is prepared. Several jobs wait here for their turn.
        </p>
      </EmptyState>
    );
  }
  return (
    <>
      <h2 className="section">Running</h2>
      {queue.running.length > 0 ? <Running jobs={queue.running} /> : <p className="muted">No job holds a device.</p>}
      <h2 className="section">Waiting</h2>
      {queue.waiting_for && <p className="queue-head">{queue.waiting_for}</p>}
      {queue.queued.length > 0 ? <QueueList queue={queue} /> : <p className="muted">No job waits.</p>}
    </>
  );
}
