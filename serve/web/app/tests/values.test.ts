import { expect, it } from "vitest";
import { numberOf, plainText, settingAtFault } from "../src/config/values";

const PATHS = ["name", "eval_dataset", "method.rewards", "training.warmup_steps", "training.warmup_ratio"];

it("reads numbers as YAML does, and keeps other text", () => {
  expect(numberOf(" 1e-4 ")).toBe(0.0001);
  expect(numberOf(".5")).toBe(0.5);
  expect(numberOf("0x10")).toBe("0x10");
  expect(numberOf("auto")).toBe("auto");
});

it("shows values as they are written", () => {
  expect(plainText(1e-7)).toBe("1e-7");
  expect(plainText(["a"])).toBe('["a"]');
  expect(plainText(null)).toBe("");
});

it("finds the setting that an error is about", () => {
  expect(settingAtFault("training.warmup_steps", "", PATHS)).toBe("training.warmup_steps");
  expect(settingAtFault("method.rewards.0.type", "", PATHS)).toBe("method.rewards");
  expect(settingAtFault("training", "training.warmup_ratio (0.1) cannot be combined.", PATHS)).toBe("training.warmup_ratio");
  expect(settingAtFault(null, "eval_dataset and eval_split cannot be combined.", PATHS)).toBe("eval_dataset");
  expect(settingAtFault(null, "The name of this is training.warmup_steps_total.", PATHS)).toBeNull();
});
