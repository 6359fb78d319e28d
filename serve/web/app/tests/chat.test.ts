import { describe as group, expect, it } from "vitest";
import { ApiError } from "../src/api/client";
import { textOf } from "../src/api/chat";

group("a line of a streamed answer", () => {
  it("holds text, or nothing that is shown", () => {
    expect(textOf('data: {"choices": [{"delta": {"content": "Hi"}}]}')).toBe("Hi");
    expect(textOf('data: {"choices": [{"delta": {}}]}')).toBe("");
    expect(textOf('data: {"choices": [], "usage": {}}')).toBe("");
    expect(textOf("data: [DONE]")).toBe("");
    expect(textOf("")).toBe("");
  });

  it("may hold the error that cut the answer", () => {
    const line = 'data: {"error": {"message": "The engine ended.", "code": "engine_ended"}}';
    expect(() => textOf(line)).toThrow(new ApiError("The engine ended.", 503, "engine_ended"));
  });
});
