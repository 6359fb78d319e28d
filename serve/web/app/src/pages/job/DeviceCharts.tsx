import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { Job } from "../../api/client";
import { telemetryQuery, type DeviceSeries } from "../../api/nodes";
import { ChartPanel } from "../../charts/ChartPanel";
import { deviceCharts } from "../../charts/deviceLines";
import { ErrorNote } from "../../ui/Notes";

/** What the job's GPUs and processes did, over the time since it started. Nothing while there are no samples. */
export function DeviceCharts({ job }: { job: Job }) {
  const { data: devices, error, refetch } = useQuery(telemetryQuery(job));
  const start = startOf(job, devices ?? []);
  const charts = useMemo(() => deviceCharts(devices ?? [], start), [devices, start]);
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (charts.length === 0) return null;
  return (
    <>
      <h2 className="section">Devices</h2>
      <div className="charts">
        {charts.map((chart) => (
          <ChartPanel key={chart.title} {...chart} axis="time" isLog={false} fileName={`${job.name}-devices`} />
        ))}
      </div>
      <p className="muted small chart-notes">Means over time, and behind them the peaks.</p>
    </>
  );
}

/** The start of the job; where the clock of its machine is behind, the first point. */
function startOf(job: Job, devices: DeviceSeries[]): number {
  const first = devices.map((device) => Date.parse(device.times[0] ?? job.created_at));
  return Math.min(Date.parse(job.started_at ?? job.created_at), ...first);
}
