/** The one stream of a page: all jobs of the owner, reconnected with the last position that it has seen. */
import type { JobEvent } from "../api/client";
import { MessageReader, type Message } from "./sse";

/** `polling`: the service has no stream, so that queries have to be repeated. */
export type LinkState = "connecting" | "live" | "lost" | "polling" | "asleep";

export interface Listener {
  onState(state: LinkState): void;
  onEvents(events: JobEvent[]): void;
  onQueue(): void;
  onDeleted(jobId: string): void;
  /** The session has ended: nothing can be read until somebody signs in. */
  onSignedOut(): void;
  /** What is shown may have gaps: everything has to be loaded again. */
  onGap(): void;
}

export const STREAM_PATH = "/api/training/events/stream";
const RATE_PER_S = 4;
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 8_000;
/** The service sends a comment every 15 s; a stream that is silent for longer is dead. */
const SILENCE_MS = 40_000;
const NO_STREAM = new Set([404, 405]);
const SIGNED_OUT = 401;

type Fetch = typeof fetch;

export class LiveConnection {
  private position = "";
  private abort: AbortController | null = null;
  private kinds: string[] = [];
  private delay = FIRST_DELAY_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly listener: Listener,
    private readonly fetchFrom: Fetch = (...args) => fetch(...args),
  ) {}

  /** Open the stream, or change which kinds of events it has. */
  open(kinds: string[]): void {
    this.kinds = kinds;
    this.disconnect();
    void this.connect();
  }

  /** Close the stream; `open` continues where it was. */
  sleep(): void {
    this.disconnect();
    this.listener.onState("asleep");
  }

  close(): void {
    this.disconnect();
  }

  private disconnect(): void {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
  }

  private async connect(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    this.listener.onState("connecting");
    try {
      const reply = await this.fetchFrom(this.address(), { signal: abort.signal, headers: this.headers() });
      if (NO_STREAM.has(reply.status)) {
        this.listener.onState("polling");
        return;
      }
      if (reply.status === SIGNED_OUT) {
        this.listener.onSignedOut();
        return;
      }
      if (reply.status === 400 && this.position) {
        // The position is unknown: the database was replaced. Begin again from now.
        this.position = "";
        this.listener.onGap();
      } else if (reply.ok && reply.body) {
        await this.read(reply.body, abort);
      }
    } catch {
      // The connection broke or was refused: both are repeated below.
    }
    if (!abort.signal.aborted || this.abort === abort) this.reconnect(abort);
  }

  private reconnect(abort: AbortController): void {
    if (this.abort !== abort) return;
    this.abort = null;
    this.listener.onState("lost");
    this.timer = setTimeout(() => void this.connect(), this.delay);
    this.delay = Math.min(MAX_DELAY_MS, this.delay * 2);
  }

  private async read(body: ReadableStream<Uint8Array>, abort: AbortController): Promise<void> {
    const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
    const messages = new MessageReader();
    let silence: ReturnType<typeof setTimeout> | undefined;
    try {
      for (;;) {
        clearTimeout(silence);
        silence = setTimeout(() => { abort.abort(); }, SILENCE_MS);
        const { done, value } = await reader.read();
        if (done || this.abort !== abort) return;
        for (const message of messages.read(value)) this.handle(message);
        if (messages.lastId) this.position = messages.lastId;
      }
    } finally {
      clearTimeout(silence);
    }
  }

  private handle(message: Message): void {
    if (message.event === "open") {
      this.delay = FIRST_DELAY_MS;
      this.listener.onState("live");
    } else if (message.event === "events") {
      this.listener.onEvents((JSON.parse(message.data) as { events: JobEvent[] }).events);
    } else if (message.event === "queue") {
      this.listener.onQueue();
    } else if (message.event === "deleted") {
      this.listener.onDeleted((JSON.parse(message.data) as { job_id: string }).job_id);
    }
  }

  private address(): string {
    const query = new URLSearchParams([...this.kinds.map((kind) => ["kind", kind]), ["rate", String(RATE_PER_S)]]);
    return `${STREAM_PATH}?${query.toString()}`;
  }

  private headers(): Record<string, string> {
    return { accept: "text/event-stream", ...(this.position ? { "last-event-id": this.position } : {}) };
  }
}
