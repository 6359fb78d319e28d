/** What the form of an evaluation holds, and the config that it makes. */
import type { Config } from "../../config/draft";
import { numberOf } from "../../config/values";

export interface Choice {
  models: string[];
  dataset: string;
  metrics: string[];
  maxRows: string;
  maxNewTokens: string;
}

export interface MetricChoice {
  type: string;
  label: string;
  /** Kinds of rows that it can be measured on. */
  kinds: string[];
}

const ANSWERED = ["messages", "prompts"];

/** Metrics that need no settings of their own. */
export const METRICS: MetricChoice[] = [
  { type: "perplexity", label: "Perplexity of the reference answers", kinds: ["messages", "text"] },
  { type: "exact_match", label: "Exact match", kinds: ["messages"] },
  { type: "normalised_match", label: "Match without case and punctuation", kinds: ["messages"] },
  { type: "f1", label: "F1 of the words", kinds: ["messages"] },
  { type: "rouge", label: "ROUGE-L", kinds: ["messages"] },
  { type: "bleu", label: "BLEU", kinds: ["messages"] },
  { type: "chrf", label: "chrF", kinds: ["messages"] },
  { type: "numeric_answer", label: "Same number as the reference answer", kinds: ["messages"] },
  { type: "json_schema", label: "Valid JSON", kinds: ANSWERED },
];

/** Kinds of rows that some metric can be measured on. */
export const MEASURED_KINDS = ["messages", "text", "prompts"];

/** The metrics that are chosen and can be measured on rows of this kind. */
export const fitting = (metrics: string[], kind: string | undefined): string[] =>
  METRICS.filter(({ type, kinds }) => metrics.includes(type) && (kind === undefined || kinds.includes(kind))).map(({ type }) => type);

/** The config, and whether it can be sent; numbers that are no numbers are sent as they are, and refused. */
export function configOf(choice: Choice, kind: string | undefined): { config: Config; isComplete: boolean } {
  const metrics = fitting(choice.metrics, kind);
  const models = choice.models.map((model) => model.trim()).filter(Boolean);
  const config: Config = {
    kind: "evaluation",
    models,
    dataset: choice.dataset,
    metrics: metrics.map((type) => ({ type })),
    ...(choice.maxRows ? { max_rows: numberOf(choice.maxRows) } : {}),
    ...(choice.maxNewTokens ? { generation: { max_new_tokens: numberOf(choice.maxNewTokens) } } : {}),
  };
  return { config, isComplete: models.length > 0 && choice.dataset !== "" && metrics.length > 0 };
}
