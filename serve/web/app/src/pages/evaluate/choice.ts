/** What the form of an evaluation holds, and the config that it makes. */
import { parse } from "yaml";
import type { Config } from "../../config/draft";
import { numberOf } from "../../config/values";

/** The settings of one metric, as they are typed. */
export type Typed = Record<string, string>;

export interface Choice {
  models: string[];
  dataset: string;
  metrics: string[];
  /** Settings by the type of the metric. */
  settings: Record<string, Typed>;
  tasks: string[];
  numFewshot: string;
  /** Whether models read tasks in their chat template. */
  hasTemplate: boolean;
  maxRows: string;
  maxNewTokens: string;
}

export interface Field {
  name: string;
  label: string;
  kind: "text" | "lines" | "number" | "flag" | "yaml" | "judge";
  isRequired?: boolean;
  placeholder?: string;
}

export interface MetricChoice {
  type: string;
  label: string;
  /** Kinds of rows that it can be measured on. */
  kinds: string[];
  fields?: Field[];
}

const ANSWERED = ["messages", "prompts"];
const JUDGE: Field = { name: "judge", label: "Judge", kind: "judge", isRequired: true };
const rubric = (placeholder: string): Field => ({ name: "rubric", label: "Rubric: what the judge reads", kind: "lines", placeholder });

export const METRICS: MetricChoice[] = [
  { type: "perplexity", label: "Perplexity of the reference answers", kinds: ["messages", "text"] },
  { type: "exact_match", label: "Exact match", kinds: ["messages"] },
  { type: "normalised_match", label: "Match without case and punctuation", kinds: ["messages"] },
  { type: "f1", label: "F1 of the words", kinds: ["messages"] },
  { type: "rouge", label: "ROUGE-L", kinds: ["messages"] },
  { type: "bleu", label: "BLEU", kinds: ["messages"] },
  { type: "chrf", label: "chrF", kinds: ["messages"] },
  { type: "numeric_answer", label: "Same number as the reference answer", kinds: ["messages"] },
  {
    type: "regex",
    label: "Regular expression",
    kinds: ANSWERED,
    fields: [
      { name: "pattern", label: "Pattern", kind: "text", isRequired: true, placeholder: "\\d{4}-\\d{2}-\\d{2}" },
      { name: "full_match", label: "The whole answer must match", kind: "flag" },
    ],
  },
  {
    type: "json_schema",
    label: "Valid JSON",
    kinds: ANSWERED,
    fields: [{ name: "definition", label: "JSON Schema, as JSON or YAML", kind: "yaml", placeholder: "Any JSON" }],
  },
  {
    type: "judge_score",
    label: "Score of a judge",
    kinds: ANSWERED,
    fields: [
      JUDGE,
      { name: "min_score", label: "Lowest score", kind: "number", placeholder: "1" },
      { name: "max_score", label: "Highest score", kind: "number", placeholder: "10" },
      rubric("The service's own, with {question}, {reference} and {answer}"),
    ],
  },
  {
    type: "judge_preference",
    label: "Preference of a judge over the base model",
    kinds: ANSWERED,
    fields: [JUDGE, rubric("The service's own, with {question}, {reference}, {answer_a} and {answer_b}")],
  },
];

/** Kinds of rows that some metric can be measured on. */
export const MEASURED_KINDS = ["messages", "text", "prompts"];

/** The metrics that are chosen and can be measured on rows of this kind. */
export const fitting = (metrics: string[], kind: string | undefined): MetricChoice[] =>
  METRICS.filter(({ type, kinds }) => metrics.includes(type) && (kind === undefined || kinds.includes(kind)));

/** The config, and whether it can be sent; numbers that are no numbers are sent as they are, and refused. */
export function configOf(choice: Choice, kind: string | undefined): { config: Config; isComplete: boolean } {
  const metrics = choice.dataset === "" ? [] : fitting(choice.metrics, kind);
  const models = choice.models.map((model) => model.trim()).filter(Boolean);
  const typed = (type: string) => choice.settings[type] ?? {};
  const config: Config = {
    kind: "evaluation",
    models,
    ...(choice.dataset === "" ? {} : { dataset: choice.dataset, metrics: metrics.map((metric) => metricOf(metric, typed(metric.type))) }),
    ...(choice.tasks.length > 0 ? { tasks: choice.tasks.map((name) => taskOf(name, choice)) } : {}),
    ...(choice.maxRows ? { max_rows: numberOf(choice.maxRows) } : {}),
    ...(choice.maxNewTokens ? { generation: { max_new_tokens: numberOf(choice.maxNewTokens) } } : {}),
  };
  const hasSettings = metrics.every(({ type, fields }) => (fields ?? []).every(({ name, isRequired }) => !isRequired || typed(type)[name]));
  const hasRows = choice.dataset === "" ? choice.tasks.length > 0 : metrics.length > 0 && hasSettings;
  return { config, isComplete: models.length > 0 && hasRows };
}

function metricOf({ type, fields }: MetricChoice, typed: Typed): Config {
  const given = (fields ?? []).filter(({ name }) => typed[name]?.trim());
  return { type, ...Object.fromEntries(given.map((field) => [field.name, valueOf(field, typed[field.name] ?? "")])) };
}

function valueOf({ kind }: Field, text: string): unknown {
  if (kind === "flag") return true;
  if (kind === "number") return numberOf(text);
  if (kind !== "yaml") return text;
  try {
    return parse(text) as unknown;
  } catch {
    return text; // which the service refuses
  }
}

function taskOf(name: string, { numFewshot, hasTemplate }: Choice): Config {
  return {
    name,
    ...(numFewshot ? { num_fewshot: numberOf(numFewshot) } : {}),
    ...(hasTemplate ? {} : { apply_chat_template: false }),
  };
}

/** The paths of the fields of the form in the config, by which errors are shown beside them. */
export function pathsOf(choice: Choice, kind: string | undefined): string[] {
  const metrics = choice.dataset === "" ? [] : fitting(choice.metrics, kind);
  return [
    ...choice.models.map((_, place) => `models.${String(place)}`),
    ...["dataset", "max_rows", "generation.max_new_tokens"],
    ...metrics.flatMap(({ fields }, place) => [
      `metrics.${String(place)}`,
      ...(fields ?? []).map(({ name }) => `metrics.${String(place)}.${name}`),
    ]),
    ...choice.tasks.flatMap((_, place) => [`tasks.${String(place)}`, `tasks.${String(place)}.num_fewshot`]),
  ];
}
