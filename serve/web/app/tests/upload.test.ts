import { expect, it } from "vitest";
import { ApiError } from "../src/api/client";
import { namesIn } from "../src/upload/columns";
import { optionsOf } from "../src/upload/ReadingOptions";
import { PIECE_BYTES, sendFile, type Upload, type UploadService } from "../src/upload/upload";

class Service implements UploadService {
  received: number[] = [];
  size: number;
  failures: unknown[] = [];
  sha256: string | null = null;

  constructor(size = 0) {
    this.size = size;
  }

  start = (_: File, sha256: string | null) => {
    this.sha256 = sha256;
    return Promise.resolve({ id: "up-1", received_bytes: this.size } as Upload);
  };

  offset = () => Promise.resolve(this.size);

  send = (_: string, offset: number, piece: Blob) => {
    const failure = this.failures.shift();
    if (failure !== undefined) return Promise.reject(failure as Error);
    expect(offset).toBe(this.size);
    this.received.push(piece.size);
    this.size += piece.size;
    return Promise.resolve(this.size);
  };
}

const FILE = new File([new Uint8Array(PIECE_BYTES + 10)], "rows.jsonl");
const send = (service: Service, sent: number[] = [], file = FILE) =>
  sendFile(file, service, (size) => sent.push(size), new AbortController().signal, () => Promise.resolve());

it("sends a file in pieces, with its hash", async () => {
  const service = new Service();
  const sent: number[] = [];
  expect(await send(service, sent)).toBe("up-1");
  expect(service.received).toEqual([PIECE_BYTES, 10]);
  expect(sent).toEqual([0, PIECE_BYTES, PIECE_BYTES + 10]);
  expect(service.sha256).toMatch(/^[0-9a-f]{64}$/);
});

it("continues where an earlier visit stopped", async () => {
  const service = new Service(PIECE_BYTES);
  await send(service);
  expect(service.received).toEqual([10]);
});

it("continues from what the service has received when a connection is lost", async () => {
  const service = new Service();
  service.failures = [new ApiError("The service does not answer.", 0, "unreachable"), new ApiError("", 409, "upload_offset_mismatch")];
  await send(service);
  expect(service.size).toBe(FILE.size);
});

it("fails if the service refuses the file or stays unreachable", async () => {
  const refused = new Service();
  refused.failures = [new ApiError("The file is too large.", 413, "payload_too_large")];
  await expect(send(refused)).rejects.toThrow("too large");
  const away = new Service();
  away.failures = Array.from({ length: 20 }, () => new ApiError("The service does not answer.", 0, "unreachable"));
  await expect(send(away)).rejects.toThrow("does not answer");
});

it("names the columns of a file", () => {
  expect(namesIn("a.csv", '"question",answer\r\nWhat?,That')).toEqual(["question", "answer"]);
  expect(namesIn("a.csv", "question;answer\n")).toEqual(["question", "answer"]);
  expect(namesIn("a.tsv", "q\ta\n")).toEqual(["q", "a"]);
  expect(namesIn("a.jsonl", '\n{"q": 1, "a": 2}\n')).toEqual(["q", "a"]);
  expect(namesIn("a.parquet", "PAR1")).toEqual([]);
});

it("sends only the options that were chosen", () => {
  expect(optionsOf("", [{ field: "prompt", column: " " }], false)).toEqual({});
  expect(optionsOf("text", [{ field: "text", column: "body" }], true)).toEqual({
    shape: "text",
    columns: { text: "body" },
    accept_partial: true,
  });
});

it("sends nothing once it was stopped, also while the service was asked where to begin", async () => {
  const service = new Service();
  const stop = new AbortController();
  const sent: number[] = [];
  const sending = sendFile(FILE, service, (size) => sent.push(size), stop.signal, () => Promise.resolve());
  stop.abort();
  await expect(sending).rejects.toThrow();
  expect([service.received, sent]).toEqual([[], []]);
});

it("reports nothing after it was stopped while it waits for the service", async () => {
  const service = new Service();
  service.failures = [new ApiError("The service does not answer.", 0, "unreachable")];
  const sent: number[] = [];
  const stop = new AbortController();
  const wait = () => { stop.abort(); return Promise.resolve(); };
  await expect(sendFile(FILE, service, (size) => sent.push(size), stop.signal, wait)).rejects.toThrow();
  expect(sent).toEqual([0]);
});
