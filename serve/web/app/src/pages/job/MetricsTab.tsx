import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo } from "react";
import { checkpointsQuery } from "../../api/jobParts";
import { seriesQuery, TOO_MANY_POINTS, type SeriesMap } from "../../api/series";
import { ChartControls, useChartSettings } from "../../charts/ChartControls";
import { ChartPanel } from "../../charts/ChartPanel";
import { axesOf, linesOf, marksOf, scaleOf } from "../../charts/jobLines";
import { metricGroups } from "../../charts/metricGroups";
import { isTerminal } from "../../format/status";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { DeviceCharts } from "./DeviceCharts";
import type { TabProps } from "./JobPage";
import { Summary } from "./Summary";

const MAIN_HEIGHT = 320;
const NONE: SeriesMap = {};

export default function MetricsTab({ job }: TabProps) {
  const [settings, setSettings] = useChartSettings();
  const { data: series = NONE, error, isPending, refetch } = useQuery(seriesQuery(job.id));
  const { data: checkpoints = [] } = useQuery(checkpointsQuery(job.id));
  const isLong = Object.values(series).some((own) => own.steps.length > TOO_MANY_POINTS);
  useEffect(() => {
    if (isLong) void refetch();
  }, [isLong, refetch]);

  const axes = axesOf(job);
  const axis = axes.includes(settings.axis) ? settings.axis : "step";
  const { epochsPerStep, start } = scaleOf(job, series, axis);
  const charts = useMemo(() => {
    const scale = { axis, epochsPerStep, start };
    const marks = marksOf(series, checkpoints, scale);
    return metricGroups(series).map((group) => ({
      title: group.title,
      lines: linesOf(group, series, scale, settings.smoothing),
      marks,
    }));
  }, [series, checkpoints, axis, epochsPerStep, start, settings.smoothing]);

  if (isPending) return <Loading lines={3} />;
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (charts.length === 0) {
    return (
      <>
        <NoMetrics isOver={isTerminal(job.status)} />
        <DeviceCharts job={job} />
      </>
    );
  }
  return (
    <>
      <ChartControls settings={{ ...settings, axis }} onChange={setSettings} axes={axes} />
      <div className="charts">
        {charts.map((chart, index) => (
          <ChartPanel
            key={chart.title}
            {...chart}
            axis={axis}
            isLog={settings.isLog}
            fileName={job.name}
            {...(index === 0 ? { height: MAIN_HEIGHT } : { marks: undefined })}
          />
        ))}
      </div>
      <p className="muted small chart-notes">
        Triangles mark checkpoints, a filled one the best; a dashed line marks another attempt. Drag over a chart to
        look closer, and double-click to go back.
      </p>
      <DeviceCharts job={job} />
      {isTerminal(job.status) && <Summary job={job} />}
    </>
  );
}

function NoMetrics({ isOver }: { isOver: boolean }) {
  return (
    <EmptyState title={isOver ? "Nothing was measured" : "Nothing is measured yet"}>
      <p>{isOver ? "The job ended before its first step." : "The curves appear with the first step."}</p>
    </EmptyState>
  );
}
