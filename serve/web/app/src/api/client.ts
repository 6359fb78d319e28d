/** Calls of the HTTP API, with the types of its own OpenAPI document. */
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Job = Schemas["Job"];
export type JobStatus = Schemas["JobStatus"];
export type JobEvent = Schemas["Event"];

/** Of the types that a reply may have, the app reads JSON. */
export const http = createClient<paths, "application/json">({ baseUrl: "" });

/** An error reply. `message` is the service's sentence; `param` names the field at fault. */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly param: string | null = null,
  ) {
    super(message);
  }

  /** Whether the service may answer the same request later. */
  get isTemporary(): boolean {
    return this.status === 0 || this.status >= 502;
  }
}

export const UNREACHABLE = "The service does not answer.";

interface Reply<T> {
  data?: T | undefined;
  error?: unknown;
  response: Response;
}

/** The data of a reply; throws `ApiError` for an error reply and where there is no reply. */
export async function unwrap<T>(call: Promise<Reply<T>>): Promise<T> {
  let reply: Reply<T>;
  try {
    reply = await call;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(UNREACHABLE, 0, "unreachable");
  }
  if (!reply.response.ok) throw errorOf(reply.response.status, reply.error);
  return reply.data as T;
}

/** The error of a reply that is not a success, whatever its body is. */
export function errorOf(status: number, body: unknown): ApiError {
  const error = (body as { error?: Record<string, unknown> } | undefined)?.error;
  if (typeof error?.["message"] === "string") {
    const param = typeof error["param"] === "string" ? error["param"] : null;
    return new ApiError(error["message"], status, String(error["code"]), param);
  }
  return new ApiError(`The service replied with the status ${String(status)}.`, status, "unknown");
}
