import type { GpuSample, NodeStatus } from "../../api/nodes";
import type { Schemas } from "../../api/client";
import { bytes, NONE } from "../../format/format";
import { Link } from "../../router/Link";
import { TableHead } from "../../ui/TableHead";

type HeldDevices = Schemas["HeldDevices"];

/** The processors and the GPUs of a machine, one row each. */
export function DeviceTable({ node }: { node: NodeStatus }) {
  const host = node.host;
  return (
    <table className="table stack records devices">
      <TableHead columns={["Device", "Load", "Memory", "Temperature", "Power", "Clock", "State", "Jobs"]} />
      <tbody>
        <tr>
          <th scope="row">Processors</th>
          <Load percent={host?.cpu_percent} label={`Load of the processors of ${node.name}`} />
          <Memory used={host?.memory_used_bytes} total={host?.memory_total_bytes} />
          <td data-label="Temperature">{NONE}</td>
          <td data-label="Power">{NONE}</td>
          <td data-label="Clock">{NONE}</td>
          <td data-label="State">{host ? "ok" : "not sampled yet"}</td>
          <td data-label="Jobs"><Jobs jobs={node.jobs} /></td>
        </tr>
        {node.devices.map((gpu) => (
          <GpuRow key={gpu.index} gpu={gpu} node={node} />
        ))}
      </tbody>
    </table>
  );
}

function GpuRow({ gpu, node }: { gpu: GpuSample; node: NodeStatus }) {
  const name = `GPU ${String(gpu.index)}`;
  return (
    <tr>
      <th scope="row">
        {name} <span className="muted small">{gpu.name}</span>
      </th>
      <Load percent={gpu.utilization_percent} label={`Load of ${name} of ${node.name}`} />
      <Memory used={gpu.memory_used_bytes} total={gpu.memory_total_bytes} />
      <td className="numeric" data-label="Temperature">{withUnit(gpu.temperature_celsius, "°C")}</td>
      <td className="numeric" data-label="Power">{powerOf(gpu)}</td>
      <td className="numeric" data-label="Clock">{withUnit(gpu.clock_mhz, "MHz")}</td>
      <td data-label="State"><State gpu={gpu} isOut={node.gpus_out.some((out) => out.gpu === gpu.index)} /></td>
      <td data-label="Jobs"><Jobs jobs={node.jobs.filter((job) => job.gpus.includes(gpu.index))} /></td>
    </tr>
  );
}

function State({ gpu, isOut }: { gpu: GpuSample; isOut: boolean }) {
  if (isOut) return <span className="device-lost">taken out</span>;
  if (gpu.error) return <span className="device-lost">{gpu.error}</span>;
  if (gpu.throttle_reasons.length > 0) return <span className="device-slow">throttled: {gpu.throttle_reasons.join(", ")}</span>;
  return <>ok</>;
}

function Jobs({ jobs }: { jobs: HeldDevices[] }) {
  if (jobs.length === 0) return <span className="muted">none</span>;
  return (
    <ul className="device-jobs">
      {jobs.map((job, index) => (
        <li key={job.job_id ?? index}>
          {job.job_id ? <Link to={`/jobs/${job.job_id}`}>{job.job_name}</Link> : "a job of another owner"}
        </li>
      ))}
    </ul>
  );
}

function Load({ percent, label }: { percent: number | null | undefined; label: string }) {
  if (percent === null || percent === undefined) return <td data-label="Load">{NONE}</td>;
  const shown = Math.round(percent);
  return (
    <td data-label="Load" className="device-load">
      <div className="bar" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={shown}>
        <i className="bar-done" style={{ width: `${String(shown)}%` }} />
      </div>
      <span className="numeric">{shown}%</span>
    </td>
  );
}

function Memory({ used, total }: { used: number | null | undefined; total: number | null | undefined }) {
  const text = total ? `${bytes(used)} of ${bytes(total)}` : NONE;
  return <td className="numeric" data-label="Memory">{text}</td>;
}

function powerOf(gpu: GpuSample): string {
  const limit = gpu.power_limit_watts;
  return withUnit(gpu.power_watts, "W") + (limit && gpu.power_watts !== null ? ` of ${String(Math.round(limit))}` : "");
}

function withUnit(value: number | null | undefined, unit: string): string {
  return value === null || value === undefined ? NONE : `${String(Math.round(value))} ${unit}`;
}
