/** Uploads a file in pieces. An upload that broke off continues where the service has it. */
import { ApiError, errorOf, http, unwrap, UNREACHABLE, type Schemas } from "../api/client";
import type { Dataset } from "../api/datasets";

export type Upload = Schemas["Upload"];
export type UploadOptions = Partial<Pick<Schemas["UploadStart"], "shape" | "columns" | "accept_partial">>;

export const PIECE_BYTES = 4 * 1024 ** 2;
/** Up to this size, the hash of the file is computed, by which an upload of an earlier visit is found again. */
export const MAX_HASHED_BYTES = 256 * 1024 ** 2;
const MAX_FAILURES = 6;
const MAX_WAIT_MS = 15_000;

/** What an upload needs of the service. */
export interface UploadService {
  start: (file: File, sha256: string | null) => Promise<Upload>;
  offset: (id: string) => Promise<number>;
  /** Returns how many bytes the service has then. */
  send: (id: string, offset: number, piece: Blob, signal: AbortSignal) => Promise<number>;
}

/** Send all bytes of `file`; returns the id of the upload, of which a dataset can be made. */
export async function sendFile(
  file: File,
  service: UploadService,
  onProgress: (sent: number) => void,
  signal: AbortSignal,
  wait: (ms: number) => Promise<void> = pause,
): Promise<string> {
  const upload = await service.start(file, await hashOf(file));
  signal.throwIfAborted();
  let sent = upload.received_bytes;
  let failures = 0;
  onProgress(sent);
  while (sent < file.size) {
    signal.throwIfAborted();
    try {
      sent = await service.send(upload.id, sent, file.slice(sent, sent + PIECE_BYTES), signal);
      failures = 0;
    } catch (error) {
      signal.throwIfAborted();
      if (!isPassing(error) || (failures += 1) > MAX_FAILURES) throw error;
      await wait(Math.min(MAX_WAIT_MS, 500 * 2 ** failures));
      sent = await service.offset(upload.id).catch(() => sent);
      signal.throwIfAborted();
    }
    onProgress(sent);
  }
  return upload.id;
}

/** Whether the same upload may go on: the connection broke, or the service has other bytes than this page thinks. */
function isPassing(error: unknown): boolean {
  return error instanceof ApiError && (error.isTemporary || error.code === "upload_offset_mismatch");
}

async function hashOf(file: File): Promise<string | null> {
  if (file.size > MAX_HASHED_BYTES || !("subtle" in crypto)) return null;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => { setTimeout(resolve, ms); });
}

export const uploadService: UploadService = {
  start: (file, sha256) => {
    if (file.size === 0) throw new ApiError(`${file.name} is empty: choose a file with rows.`, 422, "empty_file");
    const body = { filename: file.name, size_bytes: file.size, ...(sha256 ? { sha256 } : {}) };
    return unwrap(http.POST("/api/uploads", { body: body as Schemas["UploadStart"] }));
  },
  offset: async (id) =>
    (await unwrap(http.GET("/api/uploads/{upload_id}", { params: { path: { upload_id: id } } }))).received_bytes,
  send: async (id, offset, piece, signal) => {
    let reply: Response;
    try {
      const headers = { "content-type": "application/offset+octet-stream", "upload-offset": String(offset) };
      reply = await fetch(`/api/uploads/${id}`, { method: "PATCH", headers, body: piece, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      throw new ApiError(UNREACHABLE, 0, "unreachable");
    }
    if (!reply.ok) throw errorOf(reply.status, await reply.json().catch(() => null));
    return Number(reply.headers.get("upload-offset"));
  },
};

/** Make a dataset of the bytes. */
export function completeUpload(id: string, options: UploadOptions): Promise<Dataset> {
  const params = { path: { upload_id: id } };
  return unwrap(http.POST("/api/uploads/{upload_id}/complete", { params, body: options as Schemas["UploadEnd"] }));
}
