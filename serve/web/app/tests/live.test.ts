import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Job, JobEvent } from "../src/api/client";
import { jobKeys } from "../src/api/jobs";
import type { SeriesMap } from "../src/api/series";
import { newer } from "../src/jobs/useChange";
import { applyEvents, jobAfter } from "../src/live/apply";
import { LiveConnection, type Listener } from "../src/live/connection";
import { MessageReader } from "../src/live/sse";

const PATIENCE_MS = 20_000;

const JOB = { id: "job-1", status: "running", last_seq: 3, step: 1, loss: 3, message: "" } as Job;
const event = (seq: number, kind: string, data: unknown): JobEvent =>
  ({ job_id: "job-1", seq, attempt: 1, at: "2026-03-01T12:00:00Z", kind, data }) as JobEvent;

describe("server-sent events", () => {
  it("are read in pieces of any size", () => {
    const text = "retry: 1000\r\n\r\nid: 7\nevent: events\ndata: {\ndata: }\n\n: ping\nid: 9\n\n";
    for (const size of [1, 5, text.length]) {
      const reader = new MessageReader();
      const pieces = text.match(new RegExp(`[^]{1,${String(size)}}`, "g")) ?? [];
      expect(pieces.flatMap((piece) => reader.read(piece))).toEqual([{ event: "events", data: "{\n}" }]);
      expect(reader.lastId).toBe("9");
    }
  });

  it("have a position only when they are complete, so that one that broke off is sent again", () => {
    const reader = new MessageReader();
    reader.read("id: 7\ndata: {}\n\nid: 8\nevent: events\ndata: {");
    expect(reader.lastId).toBe("7");
  });
});

describe("events", () => {
  it("change what a job shows", () => {
    const stepped = jobAfter(JOB, event(4, "metrics", { step: 2, total_steps: 9, values: { loss: 2.5, eval_loss: null } }));
    expect([stepped.step, stepped.total_steps, stepped.loss, stepped.last_seq]).toEqual([2, 9, 2.5, 4]);
    const ended = jobAfter(stepped, event(5, "status", { status: "failed", message: "It failed.", reason: "disk_full" }));
    expect([ended.status, ended.message, ended.reason]).toEqual(["failed", "It failed.", "disk_full"]);
  });

  it("of the past and of other jobs change nothing", () => {
    expect(jobAfter(JOB, event(3, "status", { status: "failed" }))).toBe(JOB);
    expect(jobAfter({ ...JOB, id: "job-2" }, event(9, "status", { status: "failed" })).status).toBe("running");
  });

  it("name the queries that they cannot answer themselves", () => {
    const client = new QueryClient();
    client.setQueryData(jobKeys.job("job-1"), JOB);
    const keys = applyEvents(client, [event(4, "progress", { step: 5 })]).map((key) => key.join());
    expect(client.getQueryData<Job>(jobKeys.job("job-1"))?.step).toBe(5);
    expect(keys).toEqual([]);
    const more = applyEvents(client, [event(5, "status", { status: "completed" })]).map((key) => key.join());
    expect(more).toEqual(expect.arrayContaining(["job,job-1", "job,job-1,attempts", "jobs", "queue"]));
  });

  it("that come while a series is being read are added to the older reply", async () => {
    const client = new QueryClient();
    const key = jobKeys.part("job-1", "series");
    let answer: (series: SeriesMap) => void = () => undefined;
    const reading = client.fetchQuery({ queryKey: key, queryFn: () => new Promise<SeriesMap>((resolve) => { answer = resolve; }) });
    applyEvents(client, [event(4, "metrics", { step: 2, values: { loss: 2.5 } })]);
    answer({ loss: { steps: [1], values: [3], times: [0], attempts: [1] } });
    await reading;
    await vi.waitFor(() => { expect(client.getQueryData<SeriesMap>(key)?.["loss"]?.steps).toEqual([1, 2]); }, PATIENCE_MS);
  });

  it("that come while a job is being read are not taken back by the older reply", async () => {
    const client = new QueryClient();
    const key = jobKeys.job("job-1");
    client.setQueryData(key, JOB);
    let answer: (job: Job) => void = () => undefined;
    const reading = client.fetchQuery({ queryKey: key, queryFn: () => new Promise<Job>((resolve) => { answer = resolve; }) });
    applyEvents(client, [event(4, "progress", { step: 5 })]);
    answer(JOB);
    await reading;
    await vi.waitFor(() => { expect(client.getQueryData<Job>(key)?.step).toBe(5); }, PATIENCE_MS);
  });

  it("are not taken back by the reply to a change that is older", () => {
    const paused = { ...JOB, status: "paused", last_seq: 5 } as Job;
    expect(newer(paused, { ...JOB, status: "pausing", last_seq: 4 })).toBe(paused);
    expect(newer(JOB, paused)).toBe(paused);
    expect(newer(undefined, paused)).toBe(paused);
  });
});

describe("the connection", () => {
  const states: string[] = [];
  const received: JobEvent[] = [];
  const deleted: string[] = [];
  let gaps = 0;
  let ends = 0;
  const listener: Listener = {
    onState: (state) => void states.push(state),
    onEvents: (events) => void received.push(...events),
    onQueue: () => undefined,
    onDeleted: (id) => void deleted.push(id),
    onSignedOut: () => { ends += 1; },
    onGap: () => { gaps += 1; },
  };
  const stream = (id: number, seq: number) =>
    `id: ${String(id)}\nevent: open\ndata: {}\n\nid: ${String(id + 1)}\nevent: events\n` +
    `data: ${JSON.stringify({ events: [event(seq, "log", {})] })}\n\n`;

  beforeEach(() => {
    vi.useFakeTimers();
    states.length = received.length = gaps = 0;
  });
  afterEach(() => vi.useRealTimers());

  it("continues after the last position that it has seen", async () => {
    const asked: (string | null)[] = [];
    const replies = [new Response(stream(10, 1)), new Response(stream(20, 2))];
    const connection = new LiveConnection(listener, (_, options) => {
      asked.push(new Headers(options?.headers).get("last-event-id"));
      return Promise.resolve(replies.shift() ?? new Response(null, { status: 404 }));
    });
    connection.open(["log"]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toEqual([null, "11", "21"]);
    expect(received.map(({ seq }) => seq)).toEqual([1, 2]);
    expect(states).toEqual(["connecting", "live", "lost", "connecting", "live", "lost", "connecting", "polling"]);
  });

  it("begins again where the service does not know the position", async () => {
    const replies = [new Response(stream(10, 1)), new Response("{}", { status: 400 }), new Response(stream(1, 1))];
    const connection = new LiveConnection(listener, () =>
      Promise.resolve(replies.shift() ?? new Response(null, { status: 404 })),
    );
    connection.open([]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(gaps).toBe(1);
    expect(received).toHaveLength(2);
  });

  it("ends with the session, and does not call the service unreachable", async () => {
    let calls = 0;
    const connection = new LiveConnection(listener, () => {
      calls += 1;
      return Promise.resolve(new Response("{}", { status: 401 }));
    });
    connection.open([]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([calls, ends, states]).toEqual([1, 1, ["connecting"]]);
  });

  it("reports a job that was deleted", async () => {
    const message = 'event: open\ndata: {}\n\nevent: deleted\ndata: {"type": "deleted", "job_id": "job-9"}\n\n';
    const replies = [new Response(message)];
    const connection = new LiveConnection(listener, () =>
      Promise.resolve(replies.shift() ?? new Response(null, { status: 404 })),
    );
    connection.open([]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(deleted).toEqual(["job-9"]);
  });

  it("waits longer each time while the service is down, and not at all while it is asleep", async () => {
    let calls = 0;
    const connection = new LiveConnection(listener, () => {
      calls += 1;
      return Promise.reject(new TypeError("refused"));
    });
    connection.open([]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(calls).toBeGreaterThan(5);
    expect(calls).toBeLessThan(15);
    connection.sleep();
    const before = calls;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(calls).toBe(before);
    expect(states.at(-1)).toBe("asleep");
  });
});
