import { describe, expect, it } from "vitest";
import { about, ago, bytes, counted, duration, money, number, percent } from "../src/format/format";
import { actionsOf, lookOf, progressOf } from "../src/format/status";
import { differences, flat } from "../src/config/configTree";
import { isAsSuggested, resumeBody, settingsOf, valueOf } from "../src/jobs/resumeBody";
import { byPrompt } from "../src/jobs/samples";
import { costsCsvAddress } from "../src/api/costs";
import { newSecret } from "../src/api/notifications";
import { chosenJobs } from "../src/pages/compare/chosen";
import { labelsOf } from "../src/pages/compare/labels";
import { choiceOf } from "../src/pages/costs/choice";
import { matching, parts } from "../src/pages/job/search";
import { filterOf } from "../src/pages/jobs/filter";
import { filterOf as notificationFilterOf } from "../src/pages/notifications/kinds";
import type { QueueEntry } from "../src/api/queue";
import { byPriority, moveBy, moved, moveOnto, withMoves } from "../src/pages/queue/order";
import { matchPath, withQuery } from "../src/router/router";
import { sparkPath } from "../src/ui/Sparkline";

describe("texts", () => {
  it("write numbers as they are measured", () => {
    const values = [2.87349, 0.0002, 1.2e-7, 0, 12345, -3, NaN, null];
    expect(values.map((value) => number(value))).toEqual(["2.873", "0.0002", "1.2e-7", "0", "12,345", "-3", "NaN", "–"]);
    expect([percent(0.999), percent(null)]).toEqual(["99%", "–"]);
    expect([counted(1, "job"), counted(1200, "job")]).toEqual(["1 job", "1,200 jobs"]);
    expect([bytes(999), bytes(1536), bytes(18_400_000)]).toEqual(["999 B", "1.54 kB", "18.4 MB"]);
  });

  it("write amounts with the digits that matter", () => {
    const amounts = ["1234.500000", "2.9", "0.004200", "0", null].map((amount) => money(amount, "EUR"));
    expect(amounts).toEqual(["1,234.50 EUR", "2.90 EUR", "0.0042 EUR", "0.00 EUR", "–"]);
  });

  it("write times in their two largest units, and estimates in one", () => {
    expect([0.4, 42, 200, 7500, 273_600].map(duration)).toEqual(["under 1 s", "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"]);
    expect([30, 200, 7500, 400_000].map(about)).toEqual(["under 1 min", "3 min", "2 h", "5 d"]);
    const at = "2026-03-01T12:00:00Z";
    expect([10, 50, 4000].map((s) => ago(at, Date.parse(at) + s * 1000))).toEqual(["just now", "1 min ago", "67 min ago"]);
  });
});

describe("states", () => {
  it("say that a job recovers, and what can be done with it", () => {
    expect(lookOf({ status: "queued", retries_used: 1 }).label).toBe("Recovering");
    expect(lookOf({ status: "running", retries_used: 1 }).label).toBe("Running");
    expect([...actionsOf({ status: "queued" })]).toEqual(["pause", "prioritize", "move", "append", "cancel"]);
    expect([...actionsOf({ status: "completed", model_id: "m" })]).toEqual(["append", "delete", "download"]);
    expect([...actionsOf({ status: "cancelling" })]).toEqual([]);
    expect([progressOf({ step: 5, total_steps: 10 }), progressOf({ step: 5 })]).toEqual([0.5, null]);
  });
});

describe("notifications", () => {
  it("are filtered by what the address says", () => {
    expect(notificationFilterOf(new URLSearchParams("show=unread&kind=failed"))).toEqual({ isUnread: true, kind: "failed" });
    expect(notificationFilterOf(new URLSearchParams("show=all&kind=toString"))).toEqual({ isUnread: false, kind: null });
  });

  it("are signed with a secret of 32 random bytes", () => {
    const secret = newSecret();
    expect(secret).toMatch(/^whsec_/);
    expect(atob(secret.slice(6))).toHaveLength(32);
    expect(newSecret()).not.toBe(secret);
  });
});

describe("addresses", () => {
  it("have parts", () => {
    expect(matchPath("/jobs/:id", "/jobs/a%2Fb/")).toEqual({ id: "a/b" });
    expect(matchPath("/jobs/:id", "/jobs/")).toBeNull();
    expect(matchPath("/jobs/:id", "/jobs/%")).toEqual({ id: "%" });
    expect(matchPath("/", "/")).toEqual({});
    expect(withQuery("?a=1&b=2", { a: null, b: "x y" })).toBe("?b=x+y");
    expect(withQuery("?a=1", { a: "" })).toBe("");
  });

  it("hold the sums of costs, and nothing that the service refuses", () => {
    const choice = choiceOf(new URLSearchParams("by=month&since=2026-03-01&until=2026-13-99"));
    expect(choice).toEqual({ by: "month", since: "2026-03-01", until: "" });
    expect(choiceOf(new URLSearchParams("by=colour")).by).toBe("model");
    expect(costsCsvAddress(choice)).toBe("/api/costs?by=month&since=2026-03-01&format=csv");
  });

  it("hold the filter and the compared jobs", () => {
    expect(filterOf(new URLSearchParams("show=failed&q=%20a%20"))).toEqual({ statuses: ["failed"], search: "a" });
    expect(filterOf(new URLSearchParams("show=nothing")).statuses).toEqual([]);
    expect(chosenJobs(new URLSearchParams("jobs=a,b,,a"))).toEqual(["a", "b"]);
    expect(labelsOf([{ id: "1", name: "x" }, { id: "2", name: "x" }, { id: "3", name: "y" }])).toEqual(["x (1)", "x (2)", "y"]);
  });
});

describe("the queue", () => {
  const queue = [["a", 80], ["b", 50], ["c", 50], ["d", 50]].map(([job_id, priority]) => ({
    job_id: String(job_id),
    priority: Number(priority),
  }));
  const order = (entries: typeof queue) => entries.map(({ job_id }) => job_id).join("");

  it("is divided by priority", () => {
    expect(byPriority(queue).map(({ priority, entries }) => [priority, entries.length])).toEqual([[80, 1], [50, 3]]);
  });

  it("changes its order by a drop", () => {
    for (const [id, target, expected, behind] of [["b", "d", "acdb", "d"], ["d", "b", "adbc", null], ["d", "c", "abdc", "b"]] as const) {
      const move = moveOnto(queue, id, target);
      expect(move).toEqual({ id, behind, priority: null });
      expect(move && order(moved(queue, move))).toBe(expected);
    }
    expect(moveOnto(queue, "b", "b")).toBeNull();
  });

  it("gives a job the priority of where it is dropped", () => {
    const up = moveOnto(queue, "c", "a");
    expect(up).toEqual({ id: "c", behind: null, priority: 80 });
    expect(up && order(moved(queue, up))).toBe("cabd");
    const down = moveOnto(queue, "a", "c");
    expect(down).toEqual({ id: "a", behind: "b", priority: 50 });
    expect(down && order(moved(queue, down))).toBe("bacd");
  });

  it("moves by keyboard within a priority only", () => {
    expect(moveBy(queue, "b", -1)).toBeNull();
    expect(moveBy(queue, "b", 1)).toEqual({ id: "b", behind: "c", priority: null });
    expect(moveBy(queue, "d", -1)).toEqual({ id: "d", behind: "b", priority: null });
    expect(moveBy(queue, "d", 1)).toBeNull();
  });

  it("keeps its order where the job ahead has started, and is moved once however often a move is applied", () => {
    expect(moved(queue, { id: "d", behind: "gone", priority: null })).toBe(queue);
    const placed = queue.map((entry, index) => ({ ...entry, position: index + 3 }) as QueueEntry);
    const moves = [{ id: "d", behind: "b", priority: null }, { id: "c", behind: null, priority: null }];
    const after = withMoves(placed, moves);
    expect(after.map(({ job_id, position }) => [job_id, position])).toEqual([["a", 3], ["c", 4], ["b", 5], ["d", 6]]);
    expect(withMoves(after, moves)).toEqual(after);
  });
});

describe("a resume", () => {
  const suggestion = {
    changes: [{ field: "training.learning_rate", from: 0.9, to: 0.0002 }],
    reason: "",
    effect: "",
  };
  const filledIn = settingsOf(suggestion);

  it("reads values as YAML would", () => {
    expect(["1e-4", "true", '"x"', "cosine", "[1]", " 3 ", "null"].map(valueOf)).toEqual([1e-4, true, "x", "cosine", [1], 3, null]);
  });

  it("accepts the suggestion as it is, or sends what was changed", () => {
    expect(filledIn).toEqual([{ field: "training.learning_rate", text: "0.0002" }]);
    expect(isAsSuggested([{ field: "training.learning_rate ", text: "2e-4" }], suggestion)).toBe(true);
    expect(resumeBody("adjusted", filledIn, suggestion, "step-1")).toEqual({ checkpoint: "step-1", suggested: true });
    const edited = [{ field: "training.learning_rate", text: "1e-5" }, { field: " ", text: "" }];
    expect(resumeBody("adjusted", edited, suggestion, "")).toEqual({ config_adjustments: { "training.learning_rate": 1e-5 } });
    expect(resumeBody("original", edited, suggestion, "")).toEqual({ original: true });
    expect(resumeBody("same", edited, suggestion, "")).toEqual({});
  });
});

describe("configs", () => {
  it("are compared setting by setting", () => {
    const [one, two] = [{ a: { b: 1, c: [1] }, d: null }, { a: { b: 2, c: [1] } }];
    expect(flat(one)).toEqual({ "a.b": 1, "a.c": [1], d: null });
    expect(differences([one, two])).toEqual([{ field: "a.b", values: [1, 2] }]);
  });
});

describe("parts of a job", () => {
  it("are the newest answers to each prompt", () => {
    const sample = (step: number, number: number, text: string) =>
      ({ kind: "sample", data: { step, number, prompt: `p${String(number)}`, text } }) as never;
    const found = byPrompt([sample(1, 2, "x"), sample(0, 1, "a"), sample(5, 1, "b"), sample(5, 1, "c")]);
    expect(found.map(({ prompt, answers }) => [prompt, answers.map(({ text }) => text)])).toEqual([["p1", ["c", "a"]], ["p2", ["x"]]]);
  });

  it("are found by a search without regard to case", () => {
    expect(matching([{ text: "Step 1" }, { text: "done" }], "STEP")).toHaveLength(1);
    expect(parts("aXbx", "x").map(({ text, isMatch }) => `${text}${isMatch ? "!" : ""}`)).toEqual(["a", "X!", "b", "x!"]);
    expect(parts("<img>", "")).toEqual([{ text: "<img>", isMatch: false }]);
  });

  it("are drawn small within their frame", () => {
    expect(sparkPath([0, 1, 2], [2, 1, 0])).toBe("M2.0 2.0L48.0 12.0L94.0 22.0");
    expect(sparkPath([0, 1], [1, 1])).toBe("M2.0 12.0L94.0 12.0");
  });
});
