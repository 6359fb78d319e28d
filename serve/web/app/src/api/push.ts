/** Uploads of artifacts to a hub, which the service reports while they run. */
import { MessageReader, type Message } from "../live/sse";
import { ApiError, errorOf, UNREACHABLE, type Schemas } from "./client";
import { artifactAddress } from "./jobParts";

export type HubCommit = Schemas["HubCommit"];
export type PushProgress = Schemas["PushProgress"];
type PushMessage = PushProgress | Schemas["PushDone"] | Schemas["PushFailed"];

interface Wanted {
  repo: string;
  private: boolean;
  token: string;
}

const BROKEN = "The connection broke before the upload was complete. Upload again: files that arrived are not sent again.";

/** Upload an artifact with the user's token, which is kept nowhere. `onProgress` is called about once a second. */
export async function pushArtifact(
  exportId: string,
  artifact: string,
  wanted: Wanted,
  signal: AbortSignal,
  onProgress: (progress: PushProgress) => void,
): Promise<HubCommit> {
  const reply = await fetch(`${artifactAddress(exportId, artifact)}/push`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
    signal,
  }).catch((error: unknown) => {
    throw signal.aborted ? error : new ApiError(UNREACHABLE, 0, "unreachable");
  });
  if (!reply.ok || !reply.body) throw errorOf(reply.status, await reply.json().catch(() => undefined));
  const body = reply.body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  const messages = new MessageReader();
  for (;;) {
    const { done, value } = await body.read().catch((error: unknown) => {
      throw signal.aborted ? error : new ApiError(BROKEN, 0, "unreachable");
    });
    if (done) throw new ApiError(BROKEN, 0, "unreachable");
    for (const message of messages.read(value)) {
      const result = resultOf(message, onProgress);
      if (result) return result;
    }
  }
}

/** What a message says at the end of an upload; nothing for progress. Throws the error of an upload that failed. */
export function resultOf({ data }: Message, onProgress: (progress: PushProgress) => void): HubCommit | null {
  const message = JSON.parse(data) as PushMessage;
  if (message.type === "done") return message.result;
  if (message.type === "failed") throw errorOf(message.status, { error: message.error });
  onProgress(message as PushProgress);
  return null;
}
