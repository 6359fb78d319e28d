import { useQuery } from "@tanstack/react-query";
import { nodesQuery, type NodeStatus } from "../../api/nodes";
import { useTitle } from "../../app/useTitle";
import { bytes, clock, counted } from "../../format/format";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { DeviceTable } from "./DeviceTable";
import { NodeChart } from "./NodeChart";
import { TakenOut } from "./TakenOut";
import "../records.css";
import "./nodes.css";

/** Every machine with its GPUs, their load, and the jobs that hold them. */
export default function NodesPage() {
  useTitle("Nodes");
  const { data: nodes, error, refetch } = useQuery(nodesQuery);
  return (
    <>
      <div className="page-head">
        <h1>Nodes</h1>
        {nodes && nodes.length > 0 && <p className="muted">{together(nodes)}</p>}
      </div>
      {error && <ErrorNote error={error} retry={() => void refetch()} />}
      {!nodes && !error && <Loading />}
      {nodes?.length === 0 && (
        <EmptyState title="No machine has joined">
          <p>The service&apos;s own machine appears here some seconds after the service has started.</p>
        </EmptyState>
      )}
      <div className="parts">
        {nodes?.map((node) => <Node key={node.id} node={node} />)}
      </div>
    </>
  );
}

function Node({ node }: { node: NodeStatus }) {
  return (
    <section className="panel" aria-label={node.name}>
      <header className="toolbar">
        <h2>{node.name}</h2>
        <p className="muted small">{factsOf(node).join(" · ")}</p>
      </header>
      <DeviceTable node={node} />
      <TakenOut gpus={node.gpus_out} />
      <NodeChart name={node.name} />
    </section>
  );
}

function factsOf(node: NodeStatus): string[] {
  const { host } = node;
  const rate = (label: string, value: number | null | undefined) => (value ? `${label} ${bytes(value)}/s` : "");
  return [
    trainingOf(node),
    node.gpus ? counted(node.gpus, "GPU") + (node.gpu_type ? ` (${node.gpu_type})` : "") : "",
    rate("disk reads", host?.disk_read_bytes_per_s),
    rate("disk writes", host?.disk_write_bytes_per_s),
    rate("receives", host?.network_received_bytes_per_s),
    rate("sends", host?.network_sent_bytes_per_s),
    node.sampled_at ? `as of ${clock(node.sampled_at)}` : "not sampled yet",
  ].filter(Boolean);
}

function trainingOf(node: NodeStatus): string {
  if (node.cpus === null) return "";
  return node.cpus ? `${counted(node.cpus, "core")} for training` : "does not train";
}

function together(nodes: NodeStatus[]): string {
  const gpus = nodes.reduce((sum, node) => sum + node.gpus, 0);
  const held = nodes.reduce((sum, node) => sum + new Set(node.jobs.flatMap((job) => job.gpus)).size, 0);
  const machines = counted(nodes.length, "machine");
  return gpus ? `${machines}, ${String(held)} of ${counted(gpus, "GPU")} held by jobs` : machines;
}
