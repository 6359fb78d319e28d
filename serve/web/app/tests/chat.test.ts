import { afterEach, describe as group, expect, it, vi } from "vitest";
import { ApiError } from "../src/api/client";
import { streamAnswer, textOf } from "../src/api/chat";

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

group("an answer", () => {
  afterEach(() => { vi.unstubAllGlobals(); });

  it("that ends without its last line is cut off, and does not look complete", async () => {
    const line = 'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n';
    const read = async (body: string) => {
      vi.stubGlobal("fetch", () => Promise.resolve(new Response(body)));
      const pieces: string[] = [];
      for await (const piece of streamAnswer("m", [], new AbortController().signal, () => undefined)) pieces.push(piece);
      return pieces;
    };
    expect(await read(`${line}data: [DONE]\n\n`)).toEqual(["Hi"]);
    await expect(read(line)).rejects.toThrow("before the answer was complete");
  });
});
