import { beforeEach, expect, test, vi } from "vitest";
import { redrawOf } from "../src/charts/redraw";

let frames: (() => void)[] = [];
let sights: ((isVisible: boolean) => void)[] = [];

beforeEach(() => {
  frames = [];
  sights = [];
  vi.stubGlobal("requestAnimationFrame", (callback: () => void) => frames.push(callback));
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      constructor(callback: (entries: { isIntersecting: boolean }[]) => void) {
        sights.push((isIntersecting) => { callback([{ isIntersecting }]); });
      }
      observe = vi.fn();
      disconnect = vi.fn();
    },
  );
});

const chart = (drawn: string[], name: string) => redrawOf({} as Element, () => { drawn.push(name); });
const frame = () => { for (const callback of frames.splice(0)) callback(); };

test("each frame draws one chart, and a chart that is asked twice draws once", () => {
  const drawn: string[] = [];
  const [loss, rate] = [chart(drawn, "loss"), chart(drawn, "rate")];
  loss.request();
  rate.request();
  loss.request();
  expect(drawn).toEqual([]);
  frame();
  expect(drawn).toEqual(["loss"]);
  frame();
  expect(drawn).toEqual(["loss", "rate"]);
  frame();
  expect(frames).toEqual([]);
  expect(drawn).toEqual(["loss", "rate"]);
});

test("a chart out of sight is drawn when it comes into sight", () => {
  const drawn: string[] = [];
  const loss = chart(drawn, "loss");
  sights[0]?.(false);
  loss.request();
  frame();
  expect(drawn).toEqual([]);
  sights[0]?.(true);
  frame();
  expect(drawn).toEqual(["loss"]);
});

test("a chart that is gone is not drawn", () => {
  const drawn: string[] = [];
  const loss = chart(drawn, "loss");
  loss.request();
  loss.stop();
  frame();
  expect(drawn).toEqual([]);
});
