import { describe, expect, it } from "vitest";
import type { Sweep, Trial } from "../src/api/sweeps";
import { axesOf, bestSoFar, goodnessOf } from "../src/pages/sweeps/axes";

function trial(number: number, value: number | null, parameters: Trial["parameters"], finished = number): Trial {
  const state = value === null ? "failed" : "completed";
  return { number, value, parameters, state, finished_at: `2026-01-01T00:00:${String(10 + finished)}Z` } as Trial;
}

function sweep(trials: Trial[], direction: "minimise" | "maximise" = "minimise"): Sweep {
  const parameters = { "training.learning_rate": { min: 1e-5, max: 1e-3, log: true }, "lora.r": { values: [16, 4, 8] } };
  return { config: { parameters }, trials, objective: { metric: "eval_loss", direction, value: "best" } } as unknown as Sweep;
}

describe("axes of a sweep", () => {
  it("place values on their scale, numbers in order", () => {
    const [rate, rank, result] = axesOf(sweep([trial(0, 2, {}), trial(1, 4, {})]));
    expect(rate?.place(1e-4)).toBeCloseTo(0.5);
    expect([4, 8, 16].map((value) => rank?.place(value))).toEqual([0, 0.5, 1]);
    expect(result?.place(3)).toBe(0.5);
    expect(result?.place(null)).toBeNull();
    expect(rank?.place(5)).toBeNull();
  });

  it("have a place for the only value", () => {
    const result = axesOf(sweep([trial(0, 2, {})])).at(-1);
    expect(result?.place(2)).toBe(0.5);
    expect(result?.ticks).toHaveLength(1);
  });
});

describe("results of a sweep", () => {
  const trials = [trial(0, 3, {}, 2), trial(1, 2, {}, 1), trial(2, null, {}, 3), trial(3, 1, {}, 4)];

  it("are best at the end of the direction", () => {
    expect(trials.map(goodnessOf(sweep(trials)))).toEqual([0, 0.5, null, 1]);
    expect(trials.map(goodnessOf(sweep(trials, "maximise")))).toEqual([1, 0.5, null, 0]);
  });

  it("become the best so far in the order in which trials ended", () => {
    expect(bestSoFar(sweep(trials))).toEqual({ xs: [1, 2, 3], ys: [2, 2, 1] });
    expect(bestSoFar(sweep(trials, "maximise")).ys).toEqual([2, 3, 3]);
  });
});
