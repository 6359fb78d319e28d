import { describe as group, expect, it } from "vitest";
import { formatX, labelPlaces, xOfStep, xsOf, yLabels } from "../src/charts/axes";
import { deviceCharts } from "../src/charts/deviceLines";
import { linesOf, marksOf } from "../src/charts/jobLines";
import { aligned, describe, positiveOnly, toCsv } from "../src/charts/lines";
import { metricGroups } from "../src/charts/metricGroups";
import { smoothed } from "../src/charts/smooth";
import { appendPoints, seriesOf, type Series } from "../src/api/series";

const series = (steps: number[], values: number[], attempts = steps.map(() => 1)): Series => ({
  steps,
  values,
  times: steps.map((step) => step * 1000),
  attempts,
});
const STEPS = { axis: "step", epochsPerStep: 0.1, start: 0 } as const;

group("smoothing", () => {
  it("is a moving average without the bias of its start", () => {
    expect(smoothed([4, 3, 2, 1], 0.6).map((value) => Number(value.toFixed(4)))).toEqual([4, 3.375, 2.6735, 1.9044]);
  });

  it("changes nothing with the weight 0 and little remains with 0.99", () => {
    expect(smoothed([3, 1, 2], 0)).toEqual([3, 1, 2]);
    expect(smoothed([], 0.6)).toEqual([]);
    expect(smoothed([0.3, 0.3, 0.3, 0.3], 0.61)).toEqual([0.3, 0.3, 0.3, 0.3]);
  });
});

group("labels of the time axis", () => {
  it("stand at times that one reads without arithmetic", () => {
    const places = labelPlaces("time").incrs ?? [];
    expect(places).toEqual([...new Set(places)].sort((a, b) => a - b));
    const long = places.map((seconds) => formatX("time", seconds)).filter((label) => label.split(" ").length > 2);
    expect(long).toEqual([]);
  });
});

group("labels of the y axis", () => {
  it("have as many digits as tell them apart", () => {
    expect(yLabels([6.2375, 6.24, 6.2425])).toEqual(["6.2375", "6.24", "6.2425"]);
    expect(yLabels([0, 1, 2])).toEqual(["0", "1", "2"]);
    expect(yLabels([0, 0.00005, 0.0001])).toEqual(["0", "5e-5", "0.0001"]);
    expect(yLabels([0.00001, 0.000015, 0.00002])).toEqual(["1.0e-5", "1.5e-5", "2.0e-5"]);
    expect(yLabels([19000, 19500])).toEqual(["19,000", "19,500"]);
    expect(yLabels([0.1, null, 10])).toEqual(["0.1", "", "10"]);
    expect(yLabels([3.3333])).toEqual(["3.33"]);
  });
});

group("lines", () => {
  const lines = [
    { label: "a", xs: [1, 2, 4], ys: [3, 2, 1], color: "--run-1" },
    { label: "=b,c", xs: [2, 3], ys: [5, 6], color: "--run-2" },
  ];

  it("share their x values", () => {
    expect(aligned(lines)).toEqual([[1, 2, 3, 4], [3, 2, null, 1], [null, 5, 6, null]]);
  });

  it("become a CSV file that no spreadsheet runs", () => {
    expect(toCsv("step", lines)).toBe('step,a,"\'=b,c"\n1,3,\n2,2,5\n3,,6\n4,1,\n');
  });

  it("have a description in words", () => {
    expect(describe("Loss", lines.slice(0, 1), String)).toBe("Chart of Loss. a: from 3 to 1, lowest 1.");
  });

  it("leave out what a logarithmic axis has no place for", () => {
    const kept = positiveOnly({ label: "a", xs: [1, 2, 3], ys: [0, -1, 2], color: "" });
    expect([kept.xs, kept.ys]).toEqual([[3], [2]]);
  });
});

group("axes", () => {
  it("are steps, epochs, or seconds", () => {
    const own = series([10, 20], [1, 2]);
    expect(xsOf(own, { ...STEPS, axis: "epoch" })).toEqual([1, 2]);
    expect(xsOf(own, { ...STEPS, axis: "time", start: 10_000 })).toEqual([0, 10]);
    expect(xOfStep(15, own, { ...STEPS, axis: "time" })).toBe(20);
    expect(xOfStep(99, own, { ...STEPS, axis: "time" })).toBeNull();
    expect(formatX("time", 90)).toBe("1 min 30 s");
  });

  it("never run backwards in time after a crash", () => {
    const own = { ...series([1, 2, 3], [1, 1, 1]), times: [5000, 9000, 7000] };
    expect(xsOf(own, { ...STEPS, axis: "time" })).toEqual([5, 9, 9]);
  });
});

group("metrics", () => {
  it("share a chart with their evaluation, the most important first", () => {
    const all = { step_time_s: series([], []), eval_loss: series([], []), loss: series([], []), kl: series([], []) };
    expect(metricGroups({ ...all, final_eval_loss: series([], []) })).toEqual([
      { title: "Loss", training: "loss", evaluation: "eval_loss" },
      { title: "kl", training: "kl", evaluation: null },
      { title: "Step time, seconds", training: "step_time_s", evaluation: null },
    ]);
  });

  it("are smoothed over what was measured, except a schedule", () => {
    const own = { loss: series([1, 2, 3], [4, 3, 2]), learning_rate: series([1, 2, 3], [1, 2, 3]) };
    const loss = linesOf({ title: "Loss", training: "loss", evaluation: null }, own, STEPS, 0.6);
    expect(loss.map((line) => [line.isFaint ?? false, line.ys[1]])).toEqual([[true, 3], [false, 3.375]]);
    const rate = linesOf({ title: "", training: "learning_rate", evaluation: null }, own, STEPS, 0.6);
    expect(rate.map((line) => line.ys)).toEqual([[1, 2, 3]]);
  });

  it("mark checkpoints, the best one, and where another attempt began", () => {
    const own = { loss: series([1, 2, 3], [4, 3, 2], [1, 1, 2]) };
    const checkpoint = { name: "", job_id: "", attempt: 1, size_bytes: 1, created_at: "", metrics: {} };
    const saved = [{ ...checkpoint, step: 2, is_pinned: false, is_best: true }, { ...checkpoint, step: 1, is_pinned: false, is_best: false }];
    const marks = marksOf(own, saved, STEPS).map(({ x, kind }) => [x, kind]);
    expect(marks).toEqual([[2, "best"], [1, "checkpoint"], [3, "retry"]]);
  });
});

group("live points", () => {
  const event = (step: number, loss: number | null, attempt = 1) => ({
    job_id: "job-1",
    seq: step,
    attempt,
    at: "2026-03-01T12:00:00Z",
    kind: "metrics" as const,
    data: { step, values: { loss } } as never,
  });
  const known = seriesOf([{ name: "loss", step: 5, value: 1, at: "2026-03-01T12:00:00Z", attempt: 2 }]);

  it("are added at their step", () => {
    const after = appendPoints(known, [event(9, 0.5), event(7, 0.7)]);
    expect([after["loss"]?.steps, after["loss"]?.values]).toEqual([[5, 7, 9], [1, 0.7, 0.5]]);
    expect(known["loss"]?.steps).toEqual([5]);
  });

  it("replace a step that a newer attempt measures again, and never the other way round", () => {
    expect(appendPoints(known, [event(5, 0.9, 3)])["loss"]?.values).toEqual([0.9]);
    expect(appendPoints(known, [event(5, 0.9, 1)])["loss"]?.values).toEqual([1]);
  });

  it("leave a series as it is where nothing is finite", () => {
    expect(appendPoints(known, [event(6, null)])).toBe(known);
  });
});


group("charts of devices", () => {
  const times = ["2026-03-01T12:00:00Z", "2026-03-01T12:00:10Z"];
  const gpu = (index: number) => ({
    node: "alpha",
    device: `gpu-${String(index)}`,
    times,
    attempts: [1, 1],
    values: {
      utilization_percent: { min: [10, 20], mean: [50, 60], max: [90, 60] },
      memory_used_bytes: { min: [1e9, null], mean: [1e9, null], max: [1e9, null] },
    },
  });
  const start = Date.parse("2026-03-01T11:59:50Z");

  it("have a line of means and one of peaks, in seconds since the start", () => {
    const [load, memory] = deviceCharts([gpu(0)], start);
    expect(load?.title).toBe("GPU load, %");
    expect(load?.lines).toEqual([
      { label: "GPU 0, peak", xs: [10, 20], ys: [90, 60], color: "--run-1", isFaint: true },
      { label: "GPU 0", xs: [10, 20], ys: [50, 60], color: "--run-1" },
    ]);
    expect(memory?.lines).toEqual([{ label: "GPU 0", xs: [10], ys: [1], color: "--run-1" }]);
  });

  it("name the machine only where there are several, and leave out what nobody measured", () => {
    const both = deviceCharts([gpu(0), { ...gpu(0), node: "beta" }], start);
    expect(both.map((chart) => chart.title)).toEqual(["GPU load, %", "GPU memory, GB"]);
    expect(both[1]?.lines.map((line) => [line.label, line.color])).toEqual([
      ["GPU 0 of alpha", "--run-1"],
      ["GPU 0 of beta", "--run-2"],
    ]);
    expect(deviceCharts([], start)).toEqual([]);
  });
});
