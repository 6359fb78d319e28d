import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { HISTORY_HOURS, historyQuery } from "../../api/nodes";
import { ChartPanel } from "../../charts/ChartPanel";
import { loadLines } from "../../charts/deviceLines";
import { ErrorNote } from "../../ui/Notes";

/** The load of a machine and its GPUs over the last hours. Nothing while there are no samples. */
export function NodeChart({ name }: { name: string }) {
  const { data: history, error } = useQuery(historyQuery(name));
  const lines = useMemo(() => (history ? loadLines(history) : []), [history]);
  if (error) return <ErrorNote error={error} />;
  if (lines.length === 0) return null;
  const title = `Load in the last ${String(HISTORY_HOURS)} hours, %`;
  return <ChartPanel title={title} lines={lines} axis="time" isLog={false} height={130} fileName={`${name}-load`} />;
}
