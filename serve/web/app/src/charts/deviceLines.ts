/** The charts of a job's GPUs and processes: each has a line of means for each device, and a faint one of the peaks. */
import type { DeviceSeries, NodeHistory } from "../api/nodes";
import type { Line } from "./lines";

export interface DeviceChart {
  title: string;
  lines: Line[];
}

interface Measure {
  title: string;
  name: string;
  /** What one unit of the axis is, of the unit of the series. */
  unit: number;
}

const GIGA = 1e9;
const NUM_COLORS = 10;

const MEASURES: Measure[] = [
  { title: "GPU load, %", name: "utilization_percent", unit: 1 },
  { title: "GPU memory, GB", name: "memory_used_bytes", unit: GIGA },
  { title: "GPU power, W", name: "power_watts", unit: 1 },
  { title: "GPU temperature, °C", name: "temperature_celsius", unit: 1 },
  { title: "GPU clock, MHz", name: "clock_mhz", unit: 1 },
  { title: "CPU, busy cores", name: "cpu_cores", unit: 1 },
  { title: "Memory of the processes, GB", name: "memory_bytes", unit: GIGA },
];

/** The charts that have any value. `start` is the time 0, in milliseconds since 1970. */
export function deviceCharts(devices: DeviceSeries[], start: number): DeviceChart[] {
  const hasOneNode = new Set(devices.map((device) => device.node)).size === 1;
  return MEASURES.map(({ title, name, unit }) => ({
    title,
    lines: devices
      .filter((device) => device.values[name])
      .flatMap((device, index) => linesOf(device, name, unit, start, hasOneNode, index)),
  })).filter((chart) => chart.lines.length > 0);
}

/** The load of a machine and its GPUs; time 0 is the first point. */
export function loadLines(history: NodeHistory): Line[] {
  const start = Math.min(...history.data.flatMap((series) => series.times.slice(0, 1)).map((at) => Date.parse(at)));
  return history.data.flatMap((series, index) => {
    const name = series.device === "host" ? "cpu_percent" : "utilization_percent";
    const device = { ...series, node: history.node, attempts: [] };
    return series.values[name] ? linesOf(device, name, 1, start, true, index) : [];
  });
}

function linesOf(
  device: DeviceSeries, name: string, unit: number, start: number, hasOneNode: boolean, index: number,
): Line[] {
  const { mean = [], max = [] } = device.values[name] ?? {};
  const color = `--run-${String((index % NUM_COLORS) + 1)}`;
  const label = hasOneNode ? nameOf(device.device) : `${nameOf(device.device)} of ${device.node}`;
  const line = { ...curve(device.times, mean, unit, start), label, color };
  const peaks = { ...curve(device.times, max, unit, start), label: `${label}, peak`, color, isFaint: true };
  const isHigher = max.some((value, place) => value !== null && value > (mean[place] ?? value));
  return isHigher ? [peaks, line] : [line];
}

/** `gpu-0` as `GPU 0`. */
function nameOf(device: string): string {
  if (device === "host") return "Processors";
  return device.replace("gpu-", "GPU ");
}

/** Seconds since the start and values, without what was not measured. */
function curve(times: string[], values: (number | null)[], unit: number, start: number): { xs: number[]; ys: number[] } {
  const points = times.flatMap((at, place) => {
    const value = values[place];
    return value === null || value === undefined ? [] : [{ x: (Date.parse(at) - start) / 1000, y: value / unit }];
  });
  return { xs: points.map((point) => point.x), ys: points.map((point) => point.y) };
}
