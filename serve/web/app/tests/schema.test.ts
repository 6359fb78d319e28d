import { describe, expect, it } from "vitest";
import { JobSchema, type Setting } from "../src/config/schema";
import { boundsText, problemOf, settingsInside } from "../src/config/values";

const DOCUMENT = {
  paths: {
    "/api/datasets": { post: { parameters: [{ name: "shape", schema: { enum: ["messages", "text", null] } }] } },
  },
  components: {
    schemas: {
      JobConfig: {
        required: ["model"],
        properties: {
          model: { type: "string", description: "Base model." },
          method: { oneOf: [{ $ref: "#/components/schemas/Sft" }, { $ref: "#/components/schemas/Dpo" }] },
          training: { $ref: "#/components/schemas/Training", default: {} },
          max_cost: { anyOf: [{ type: "number", exclusiveMinimum: 0, maximum: 9 }, { type: "string" }, { type: "null" }] },
        },
      },
      Sft: {
        description: "Supervised.",
        "x-row-kinds": ["messages"],
        properties: { type: { const: "sft" }, packing: { anyOf: [{ type: "boolean" }, { const: "auto", type: "string" }] } },
      },
      Dpo: {
        "x-row-kinds": ["preference"],
        properties: { type: { const: "dpo" }, beta: { type: "number", exclusiveMinimum: 0, maximum: 100, default: 0.1 }, rewards: { type: "array", items: { oneOf: [{ $ref: "#/components/schemas/Length" }, { $ref: "#/components/schemas/Json" }] } } },
      },
      Length: {
        description: "Scores the length.",
        required: ["max_length"],
        properties: { type: { const: "length" }, max_length: { type: "integer", minimum: 1 } },
      },
      Json: { properties: { type: { const: "json" }, definition: { anyOf: [{ type: "object" }, { type: "null" }] } } },
      Training: {
        properties: {
          learning_rate: {
            anyOf: [{ type: "number", exclusiveMinimum: 0, maximum: 1 }, { type: "null" }, { const: "auto", type: "string" }],
          },
          optim: { anyOf: [{ type: "string", enum: ["sgd", "adafactor"] }, { type: "null" }] },
          prompts: { anyOf: [{ type: "array", items: { oneOf: [{ type: "string", maxLength: 32768 }, { type: "array" }] } }, { type: "null" }] },
          modules: { anyOf: [{ type: "string", enum: ["all-linear"] }, { type: "array", items: { type: "string" } }] },
          eval_steps: { anyOf: [{ type: "integer", minimum: 1, maximum: 100 }, { type: "null" }] },
        },
      },
    },
  },
};

const schema = new JobSchema(DOCUMENT);
const setting = (path: string, method = "sft") => {
  const found = schema.settings(method).find((item) => item.path === path);
  if (!found) throw new Error(`no ${path}`);
  return found;
};

describe("the settings of a job", () => {
  it("are those of the chosen method", () => {
    expect(schema.settings("sft").map(({ path }) => path)).toEqual([
      "model",
      "max_cost",
      "method.packing",
      "training.learning_rate",
      "training.optim",
      "training.prompts",
      "training.modules",
      "training.eval_steps",
    ]);
    expect(setting("method.beta", "dpo").default).toBe(0.1);
  });

  it("have a kind, bounds and words", () => {
    expect(setting("training.learning_rate")).toMatchObject({ kind: "number", words: ["auto"], min: 0, max: 1, isAbove: true });
    expect(setting("training.optim")).toMatchObject({ kind: "choice", choices: ["sgd", "adafactor"] });
    expect(setting("method.packing")).toMatchObject({ kind: "boolean", choices: [true, false], words: ["auto"] });
    expect(setting("training.modules")).toMatchObject({ kind: "value", words: ["all-linear"] });
    expect(setting("model")).toMatchObject({ kind: "text", isRequired: true, text: "Base model." });
  });

  it("are numbers where a decimal may be a string too", () => {
    const cost = schema.settings("sft").find(({ path }) => path === "max_cost");
    expect([cost?.kind, cost?.min, cost?.max, cost?.isAbove]).toEqual(["number", 0, 9, true]);
  });

  it("have items where they are lists", () => {
    expect(setting("training.prompts").items).toEqual({ kind: "texts", isLong: true });
    expect(setting("training.modules").items).toBeNull();
    const rewards = setting("method.rewards", "dpo");
    const [length, json] = rewards.items?.kind === "variants" ? rewards.items.variants : [];
    expect(length).toMatchObject({ type: "length", text: "Scores the length.", settings: [{ path: "max_length", isRequired: true, min: 1 }] });
    expect(json?.settings[0]).toMatchObject({ path: "definition", kind: "object", items: null });
    const inside = settingsInside(rewards, [{ type: "json" }, { type: "unknown" }, { type: "length", max_length: 0 }]);
    expect(inside.map(({ path }) => path)).toEqual(["method.rewards.0.definition", "method.rewards.2.max_length"]);
    expect(problemOf(inside[1] as Setting, 0)).toBe("Must be a whole number, 1 or more.");
    expect(settingsInside(rewards, "length")).toEqual([]);
  });

  it("name the methods, the rows that they read, and the shapes", () => {
    expect(schema.methods).toEqual([
      { type: "sft", text: "Supervised.", rowKinds: ["messages"] },
      { type: "dpo", text: "", rowKinds: ["preference"] },
    ]);
    expect(schema.shapes).toEqual(["messages", "text"]);
  });
});

describe("a value", () => {
  it("is held to the bounds of its setting", () => {
    const rate = setting("training.learning_rate");
    expect(boundsText(rate)).toBe("above 0 and up to 1");
    expect(problemOf(rate, 0)).toBe("Must be a number, above 0 and up to 1, or auto.");
    expect(problemOf(rate, "fast")).not.toBeNull();
    expect(problemOf(rate, 1)).toBeNull();
    expect(problemOf(rate, "auto")).toBeNull();
    expect(problemOf(rate, undefined)).toBeNull();
  });

  it("is whole where the setting counts", () => {
    expect(problemOf(setting("training.eval_steps"), 2.5)).toBe("Must be a whole number, 1 to 100.");
    expect(problemOf(setting("training.eval_steps"), 100)).toBeNull();
  });

  it("is one of the choices", () => {
    expect(problemOf(setting("training.optim"), "adam")).toBe("Must be sgd, adafactor.");
    expect(problemOf(setting("method.packing"), false)).toBeNull();
    expect(problemOf(setting("method.packing"), "no")).toBe("Must be true, false, or auto.");
  });
});
