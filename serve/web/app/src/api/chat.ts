/** Answers of models, piece by piece. */
import { ApiError, errorOf, UNREACHABLE } from "./client";

export interface Message {
  role: "user" | "assistant";
  content: string;
}

const CUT_OFF = "The connection ended before the answer was complete. Ask again.";
/** Code of a request whose engine waits for devices. */
const NOT_READY = "engine_not_ready";
const RETRY_MS = 3000;
/** The last line of every complete answer. */
const END = "data: [DONE]";

/** The text of an answer as it arrives. While the engine of the model is not ready, `onWait` gets what it waits for. */
export async function* streamAnswer(
  model: string,
  messages: Message[],
  signal: AbortSignal,
  onWait: (sentence: string) => void,
): AsyncGenerator<string> {
  const body = JSON.stringify({ model, messages, stream: true, temperature: 0.7 });
  for (;;) {
    const reply = await post(body, signal);
    if (reply.ok && reply.body) {
      yield* textIn(reply.body);
      return;
    }
    const error = errorOf(reply.status, await reply.json().catch(() => undefined));
    if (error.code !== NOT_READY) throw error;
    onWait(error.message);
    await pause(RETRY_MS, signal);
  }
}

async function post(body: string, signal: AbortSignal): Promise<Response> {
  try {
    return await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(UNREACHABLE, 0, "unreachable");
  }
}

async function* textIn(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw error instanceof DOMException && error.name === "AbortError" ? error : new ApiError(CUT_OFF, 0, "unreachable");
    });
    if (done) throw new ApiError(CUT_OFF, 0, "unreachable");
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.trim() === END) return;
      const text = textOf(line);
      if (text) yield text;
    }
  }
}

interface Chunk {
  error?: { message: string; code: string };
  choices?: { delta: { content?: string | null } }[];
}

/** The text in one line of the stream. Throws the error that the line holds. */
export function textOf(line: string): string {
  if (!line.startsWith("data: {")) return "";
  const chunk = JSON.parse(line.slice("data: ".length)) as Chunk;
  if (chunk.error) throw new ApiError(chunk.error.message, 503, chunk.error.code);
  return (chunk.choices ?? []).map((choice) => choice.delta.content ?? "").join("");
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("The request was cancelled.", "AbortError"));
    });
  });
}
