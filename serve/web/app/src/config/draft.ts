/** The config of a new job as YAML text. The form changes the text, so that comments and order are kept. */
import { Document, isMap, parseDocument } from "yaml";
import { differences } from "./configTree";

export type Config = Record<string, unknown>;

export interface Draft {
  text: string;
  config: Config;
  /** Why the text is no config; the form shows the config before. */
  problem: string | null;
}

/** Settings that belong to one job; a template that is chosen later does not change them. */
const OWN = ["name", "model", "dataset", "dataset_weights", "eval_dataset", "eval_split"];

export const EMPTY: Draft = { text: "", config: {}, problem: null };

export function draftOf(text: string, before: Config = {}): Draft {
  const document = parseDocument(text);
  const error = document.errors[0];
  if (error) {
    const line = error.linePos?.[0].line;
    const reason = error.message.split(/ at line|\n/)[0] ?? "";
    return { text, config: before, problem: `${line ? `Line ${String(line)}: ` : ""}${reason}.`.replace("..", ".") };
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (failure) {
    return { text, config: before, problem: failure instanceof Error ? failure.message : String(failure) };
  }
  if (value === null || value === undefined) return { text, config: {}, problem: null };
  if (typeof value !== "object" || Array.isArray(value)) {
    return { text, config: before, problem: "The text must hold settings, such as `tuning: lora`." };
  }
  return { text, config: value as Config, problem: null };
}

export type Change = (draft: Draft) => Draft;

/** A draft, and changes of it that wait until its text can be read: somebody is writing it. */
export interface DraftState {
  draft: Draft;
  waiting: Change[];
}

export function settled({ draft, waiting }: DraftState): DraftState {
  if (draft.problem !== null) return { draft, waiting };
  return { draft: waiting.reduce((before, change) => change(before), draft), waiting: [] };
}

/** The value of a setting; `undefined` where it is not set. */
export function valueAt(config: Config, path: string): unknown {
  return path.split(".").reduce<unknown>((inner, name) => (inner as Config | null | undefined)?.[name], config);
}

/** The draft with these settings; `undefined` removes one, and a group that is then empty. */
export function withSettings(draft: Draft, changes: Record<string, unknown>): Draft {
  const document = parseDocument(draft.text);
  if (!isMap(document.contents)) document.contents = new Document({}).contents as typeof document.contents;
  for (const [path, value] of Object.entries(changes)) change(document, path.split("."), value);
  return draftOf(textOf(document), draft.config);
}

function change(document: ReturnType<typeof parseDocument>, keys: string[], value: unknown): void {
  const parent = keys.slice(0, -1);
  if (value === undefined) {
    if (document.hasIn(keys)) document.deleteIn(keys);
    const group = parent.length ? document.getIn(parent) : null;
    if (isMap(group) && group.items.length === 0) document.deleteIn(parent);
    return;
  }
  if (parent.length && !isMap(document.getIn(parent))) document.setIn(parent, document.createNode({}));
  document.setIn(keys, document.createNode(value));
}

function textOf(document: ReturnType<typeof parseDocument>): string {
  const isEmpty = isMap(document.contents) && document.contents.items.length === 0;
  if (isEmpty && !document.commentBefore && !document.comment) return "";
  return document.toString({ lineWidth: 100 });
}

/**
 * The settings of a template in the place of the draft's, with its comments. What belongs to the job stays, and so
 * does what was set after the template was chosen, while it was on its way.
 */
export function withTemplate(draft: Draft, template: string, chosenAt: Draft = draft): Draft {
  const own = OWN.map((name) => [name, draft.config[name]]).filter(([, value]) => value !== undefined);
  const later = differences([chosenAt.config, draft.config]).map(({ field, values }) => [field, values[1]]);
  return withSettings(draftOf(template), Object.fromEntries([...own, ...later]) as Config);
}

/** The draft with another method; settings of a method that the new one does not have are removed. */
export function withMethod(draft: Draft, type: string, paths: string[]): Draft {
  const kept = paths.filter((path) => path.startsWith("method."));
  const given = Object.keys((draft.config["method"] ?? {}) as Config).map((name) => `method.${name}`);
  const changes: Record<string, unknown> = {};
  for (const path of given) if (!kept.includes(path)) changes[path] = undefined;
  changes["method.type"] = type;
  return withSettings(draft, changes);
}

/** The type of the method; a config without one trains with `sft`. */
export function methodOf(config: Config, fallback: string): string {
  const type = valueAt(config, "method.type");
  return typeof type === "string" ? type : fallback;
}
