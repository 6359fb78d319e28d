import { describe, expect, it } from "vitest";
import { withAdded, withMix, withMovedUp, withRemoved, withWeight } from "../src/config/datasets";
import { draftOf, EMPTY, type Config, methodOf, valueAt, withMethod, withSettings, withTemplate } from "../src/config/draft";

describe("a change of the form", () => {
  it("changes the text, and keeps comments and order", () => {
    const draft = draftOf("# mine\ntuning: lora # small\ntraining:\n  seed: 1\n");
    const after = withSettings(draft, { "training.learning_rate": 1e-4, "training.seed": undefined });
    expect(after.text).toBe("# mine\ntuning: lora # small\ntraining:\n  learning_rate: 0.0001\n");
    expect(valueAt(after.config, "training.learning_rate")).toBe(1e-4);
  });

  it("begins from nothing, and ends with nothing", () => {
    const one = withSettings(EMPTY, { "lora.r": 8 });
    expect(one.text).toBe("lora:\n  r: 8\n");
    expect(withSettings(one, { "lora.r": undefined })).toEqual(EMPTY);
  });

  it("replaces what is no group", () => {
    expect(withSettings(draftOf("lora: 3"), { "lora.r": 8 }).config).toEqual({ lora: { r: 8 } });
  });
});

describe("a change of the text", () => {
  it("changes the settings", () => {
    expect(draftOf("training:\n  learning_rate: 1e-4\n").config).toEqual({ training: { learning_rate: 1e-4 } });
    expect(draftOf("").config).toEqual({});
  });

  it("that cannot be read keeps the settings, and says where it is wrong", () => {
    const broken = draftOf("tuning: lora\ntuning: full", { tuning: "lora" });
    expect(broken.config).toEqual({ tuning: "lora" });
    expect(broken.problem).toBe("Line 2: Map keys must be unique.");
    expect(draftOf("- a\n- b").problem).toContain("must hold settings");
    expect(draftOf("a: *missing").problem).not.toBeNull();
  });
});

describe("the datasets of a job", () => {
  it("are one, or a list with or without weights", () => {
    const after = (config: Config, changes: Record<string, unknown>) => withSettings(withSettings(EMPTY, config), changes).config;
    expect(after({ dataset: "a" }, withAdded({ dataset: "a" }, "b"))).toEqual({ dataset: ["a", "b"] });
    const two = { dataset: ["a", "b"] };
    expect(after(two, withMix(two, true))).toEqual({ dataset: ["a", "b"], dataset_weights: [1, 1] });
    const mixed = { dataset: ["a", "b"], dataset_weights: [3, 1] };
    expect(after(mixed, withAdded(mixed, "c"))).toEqual({ dataset: ["a", "b", "c"], dataset_weights: [3, 1, 1] });
    expect(after(mixed, withMovedUp(mixed, 1))).toEqual({ dataset: ["b", "a"], dataset_weights: [1, 3] });
    expect(after(mixed, withMovedUp(mixed, 0))).toEqual(mixed);
    expect(after(mixed, withWeight(mixed, 1, 0.5))).toEqual({ dataset: ["a", "b"], dataset_weights: [3, 0.5] });
    expect(after(mixed, withMix(mixed, false))).toEqual({ dataset: ["a", "b"] });
    expect(after(mixed, withRemoved(mixed, 0))).toEqual({ dataset: "b" });
    expect(after({ dataset: "a" }, withRemoved({ dataset: "a" }, 0))).toEqual({});
  });
});

it("takes a template with its comments, and keeps what belongs to the job", () => {
  const draft = draftOf("model: acme/tiny\ndataset: ds-1\ntuning: full\n");
  const after = withTemplate(draft, "# For tests.\ntuning: lora # small\nmodel: other\n");
  expect(after.text).toBe("# For tests.\ntuning: lora # small\nmodel: acme/tiny\ndataset: ds-1\n");
});

it("keeps what was set, changed or removed while a template was on its way", () => {
  const chosenAt = draftOf("model: acme/tiny\nlora:\n  r: 4\ntraining:\n  seed: 1\n");
  const now = draftOf("model: acme/tiny\ntraining:\n  seed: 2\n  max_steps: 20\n");
  const after = withTemplate(now, "lora:\n  r: 8\ntraining:\n  max_steps: 5\n  warmup_steps: 3\n", chosenAt);
  expect(after.config).toEqual({ model: "acme/tiny", training: { seed: 2, max_steps: 20, warmup_steps: 3 } });
});

it("leaves out settings that another method does not have", () => {
  const draft = draftOf("method:\n  type: sft\n  packing: true\n  max_length: 64\n");
  expect(withMethod(draft, "dpo", ["method.max_length", "lora.r"]).config).toEqual({ method: { type: "dpo", max_length: 64 } });
  expect(methodOf({}, "sft")).toBe("sft");
});
