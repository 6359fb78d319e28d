import { describe as group, expect, it } from "vitest";
import { ApiError } from "../src/api/client";
import { resultOf, type PushProgress } from "../src/api/push";

const message = (document: object) => ({ event: "", data: JSON.stringify(document) });

group("a message of an upload to the hub", () => {
  it("reports progress, and the result at the end", () => {
    const seen: PushProgress[] = [];
    const progress = { type: "progress", phase: "uploading", done_bytes: 1, total_bytes: 2 };
    expect(resultOf(message(progress), (each) => { seen.push(each); })).toBeNull();
    expect(seen).toEqual([progress]);
    const result = { repo: "me/sums", url: "https://hub/me/sums" };
    expect(resultOf(message({ type: "done", result }), () => undefined)).toEqual(result);
  });

  it("may be the error that ended it", () => {
    const error = { message: "The hub does not let this token write.", code: "hub_access_denied", param: "token" };
    expect(() => resultOf(message({ type: "failed", status: 403, error }), () => undefined)).toThrow(
      new ApiError(error.message, 403, error.code, "token"),
    );
  });
});
