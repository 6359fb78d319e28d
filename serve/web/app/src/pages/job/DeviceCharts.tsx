import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { Job } from "../../api/client";
import { telemetryQuery } from "../../api/nodes";
import { ChartPanel } from "../../charts/ChartPanel";
import { deviceCharts } from "../../charts/deviceLines";
import { ErrorNote } from "../../ui/Notes";

/** What the job's GPUs and processes did, over the time since it started. Nothing while there are no samples. */
export function DeviceCharts({ job }: { job: Job }) {
  const { data: devices, error, refetch } = useQuery(telemetryQuery(job));
  const start = Date.parse(job.started_at ?? job.created_at);
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
