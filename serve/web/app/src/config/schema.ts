/** The settings of a job as a form shows them, read from the OpenAPI document of the service. */

type Json = Record<string, unknown>;

export interface Setting {
  /** Place in the config: `training.learning_rate`. */
  path: string;
  group: string;
  kind: "number" | "integer" | "boolean" | "choice" | "text" | "value" | "object";
  /** What a list consists of; `null` for all other settings, and for lists that may also be a word. */
  items: Items | null;
  /** The values of a choice. */
  choices: unknown[];
  /** Values besides those of its kind: `auto` and the like. */
  words: string[];
  min?: number;
  max?: number;
  /** Whether the bound itself is refused. */
  isAbove: boolean;
  isBelow: boolean;
  default: unknown;
  isRequired: boolean;
  /** Help text; code is in backquotes. */
  text: string;
}

/** Texts, or groups of settings whose `type` says which one it is. */
export type Items = { kind: "texts"; isLong: boolean } | { kind: "variants"; variants: Variant[] };

export interface Variant {
  type: string;
  text: string;
  /** Their paths are the names in the group. */
  settings: Setting[];
}

export interface MethodInfo {
  type: string;
  text: string;
  /** Kinds of datasets that it learns from. */
  rowKinds: string[];
}

export const CONFIG = "JobConfig";
/** Texts of which more are allowed get several lines. */
const LONG_CHARS = 1000;
type Kind = Pick<Setting, "kind" | "items" | "choices" | "words" | "min" | "max" | "isAbove" | "isBelow">;

export const GROUPS = ["method", "lora", "training", "resources"];

export class JobSchema {
  readonly methods: MethodInfo[];
  readonly shapes: string[];
  private readonly schemas: Record<string, Json>;

  constructor(document: Json) {
    this.schemas = (at(document, "components", "schemas") ?? {}) as Record<string, Json>;
    this.methods = this.methodSchemas().map((schema) => ({
      type: String(at(schema, "properties", "type", "const")),
      text: text(schema["description"]),
      rowKinds: (schema["x-row-kinds"] as string[] | undefined) ?? [],
    }));
    const parameters = (at(document, "paths", "/api/datasets", "post", "parameters") ?? []) as Json[];
    const shape = parameters.find((parameter) => parameter["name"] === "shape");
    this.shapes = ((at(shape, "schema", "enum") ?? []) as unknown[]).filter((name) => typeof name === "string");
  }

  /** Every setting of a job with this method, in the order of the service. */
  settings(method: string): Setting[] {
    const config = this.schemas[CONFIG] ?? {};
    // The form makes training jobs, which need not say so.
    const own = this.settingsIn(config, "").filter(({ path }) => path !== "kind" && !GROUPS.includes(path));
    const groups = GROUPS.flatMap((group) => {
      const schema = group === "method" ? this.methodSchema(method) : this.resolved(at(config, "properties", group));
      return this.settingsIn(schema, group).filter(({ path }) => path !== "method.type");
    });
    return [...own, ...groups];
  }

  private methodSchemas(): Json[] {
    const method = at(this.schemas[CONFIG], "properties", "method") as Json | undefined;
    return this.variants(method ?? {}).map((schema) => this.resolved(schema));
  }

  private methodSchema(type: string): Json {
    return this.methodSchemas().find((schema) => at(schema, "properties", "type", "const") === type) ?? {};
  }

  private settingsIn(schema: Json, group: string): Setting[] {
    const required = (schema["required"] ?? []) as string[];
    return Object.entries((schema["properties"] ?? {}) as Record<string, Json>).map(([name, property]) => ({
      ...this.kindOf(property),
      path: group ? `${group}.${name}` : name,
      group,
      default: property["default"] ?? null,
      isRequired: required.includes(name),
      text: text(property["description"]),
    }));
  }

  private kindOf(property: Json): Kind {
    const variants = this.variants(property).filter((variant) => variant["type"] !== "null");
    const words = variants.map((variant) => variant["const"]).filter((value) => typeof value === "string");
    const others = variants.filter((variant) => typeof variant["const"] !== "string");
    const plain = { items: null, choices: [], words, isAbove: false, isBelow: false };
    const only = decimalOf(others) ?? others[0];
    if (only === undefined || (others.length > 1 && !decimalOf(others))) {
      return { ...plain, kind: "value", words: [...words, ...others.flatMap(wordsOf)] };
    }
    if (Array.isArray(only["enum"])) return { ...plain, kind: "choice", choices: only["enum"] as unknown[] };
    switch (only["type"]) {
      case "boolean":
        return { ...plain, kind: "boolean", choices: [true, false] };
      case "string":
        return { ...plain, kind: "text" };
      case "integer":
      case "number":
        return { ...plain, kind: only["type"], ...boundsOf(only) };
      case "object":
        return { ...plain, kind: "object" };
      default:
        return { ...plain, kind: "value", items: words.length ? null : this.itemsOf(only) };
    }
  }

  private itemsOf(list: Json): Items | null {
    const found = this.variants((list["items"] ?? {}) as Json);
    const texts = found.find((variant) => variant["type"] === "string");
    if (texts) return { kind: "texts", isLong: Number(texts["maxLength"]) > LONG_CHARS };
    const types = found.map((variant) => at(variant, "properties", "type", "const"));
    if (found.length === 0 || types.some((type) => typeof type !== "string")) return null;
    const variants = found.map((variant, index) => ({
      type: String(types[index]),
      text: text(variant["description"]),
      settings: this.settingsIn(variant, "").filter(({ path }) => path !== "type"),
    }));
    return { kind: "variants", variants };
  }

  private variants(schema: Json): Json[] {
    const parts = (schema["anyOf"] ?? schema["oneOf"]) as Json[] | undefined;
    return parts ? parts.flatMap((part) => this.variants(this.resolved(part))) : [this.resolved(schema)];
  }

  private resolved(schema: unknown): Json {
    const reference = at(schema as Json, "$ref");
    if (typeof reference !== "string") return (schema ?? {}) as Json;
    return this.schemas[reference.split("/").at(-1) ?? ""] ?? {};
  }
}

/** The number of a decimal, which may also be written as a string. */
function decimalOf(variants: Json[]): Json | undefined {
  const types = variants.map((variant) => variant["type"]);
  return types.length === 2 && types.includes("string") ? variants[types.indexOf("number")] : undefined;
}

function wordsOf(schema: Json): string[] {
  return ((schema["enum"] ?? []) as unknown[]).filter((value) => typeof value === "string");
}

function boundsOf(schema: Json): Pick<Setting, "min" | "max" | "isAbove" | "isBelow"> {
  const low = (schema["exclusiveMinimum"] ?? schema["minimum"]) as number | undefined;
  const high = (schema["exclusiveMaximum"] ?? schema["maximum"]) as number | undefined;
  return {
    ...(low === undefined ? {} : { min: low }),
    ...(high === undefined ? {} : { max: high }),
    isAbove: schema["exclusiveMinimum"] !== undefined,
    isBelow: schema["exclusiveMaximum"] !== undefined,
  };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function at(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((inner, name) => (inner as Json | undefined)?.[name], value);
}
