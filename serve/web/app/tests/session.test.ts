import { describe, expect, it } from "vitest";
import { ApiError } from "../src/api/client";
import { isSignedOut, keyInFragment } from "../src/api/session";

describe("signing in", () => {
  it("takes the key of a QR code, and nothing else that follows a '#'", () => {
    expect(["#key=ftl_abc_def", "#key=", "#key=abc", "#main", ""].map(keyInFragment)).toEqual([
      "ftl_abc_def",
      null,
      null,
      null,
      null,
    ]);
  });

  it("is asked for only after a 401", () => {
    expect([401, 403, 503].map((status) => isSignedOut(new ApiError("", status, "")))).toEqual([true, false, false]);
    expect(isSignedOut(new Error("401"))).toBe(false);
  });
});
