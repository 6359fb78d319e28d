import { expect, it } from "vitest";
import type { Setting } from "../src/config/schema";
import { numberOf, plainText, problemOf, settingAtFault } from "../src/config/values";

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

it("keeps a number as text that would be sent as another one", () => {
  expect(numberOf("4294967295")).toBe(4294967295);
  expect(numberOf("9007199254740993")).toBe("9007199254740993");
  expect(numberOf("1e400")).toBe("1e400");
  const setting = { kind: "value", words: [], choices: [] } as unknown as Setting;
  expect(problemOf(setting, [1, { most: 0.5 }])).toBeNull();
  expect(problemOf(setting, [1, { most: Infinity }])).toContain("too large");
  expect(problemOf(setting, 2 ** 53)).toContain("too large");
});
