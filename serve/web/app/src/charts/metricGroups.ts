/** Which metrics share a chart: a measure in training and the same one in evaluation. */
import type { SeriesMap } from "../api/series";

export interface MetricGroup {
  title: string;
  training: string | null;
  evaluation: string | null;
}

const TITLES: Record<string, string> = {
  loss: "Loss",
  reward: "Reward",
  learning_rate: "Learning rate",
  grad_norm: "Gradient norm",
  tokens_per_s: "Tokens per second",
  mean_token_accuracy: "Token accuracy",
  entropy: "Entropy",
  step_time_s: "Step time, seconds",
  data_wait_s: "Wait for rows, seconds",
  num_tokens: "Tokens",
};
const EVAL = "eval_";
/** A single point after the training; shown with the other results. */
const NO_CURVE = new Set(["final_eval_loss"]);
/** Shown last: they explain other curves. */
const LAST = ["step_time_s", "data_wait_s", "num_tokens"];

/** Set by a schedule or counted: a mean of neighbours would say something else. */
const EXACT = new Set(["learning_rate", "num_tokens"]);

export const isSmoothed = (name: string): boolean => !EXACT.has(name);

/** The name of a chart of this metric alone. */
export function titleOf(name: string): string {
  const base = name.startsWith(EVAL) ? name.slice(EVAL.length) : name;
  const title = TITLES[base] ?? base;
  return name.startsWith(EVAL) ? `${title} (evaluation)` : title;
}

export function metricGroups(series: SeriesMap): MetricGroup[] {
  const names = Object.keys(series).filter((name) => !NO_CURVE.has(name));
  const bases = new Set(names.map((name) => (name.startsWith(EVAL) ? name.slice(EVAL.length) : name)));
  return [...bases].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b)).map((base) => ({
    title: TITLES[base] ?? base,
    training: names.includes(base) ? base : null,
    evaluation: names.includes(EVAL + base) ? EVAL + base : null,
  }));
}

function rank(base: string): number {
  if (LAST.includes(base)) return 1000 + LAST.indexOf(base);
  const index = Object.keys(TITLES).indexOf(base);
  return index < 0 ? 100 : index;
}
