/** Single-key shortcuts. Components register theirs while they are mounted; `?` lists them. */
import { useLayoutEffect, useRef, useSyncExternalStore } from "react";

export interface Shortcut {
  /** What `KeyboardEvent.key` is, or two of them after another: `g j`. */
  keys: string;
  label: string;
  run: () => void;
}

const OFF = "ftlab:shortcuts-off";
const SEQUENCE_MS = 1200;
const registered = new Set<{ current: Shortcut[] }>();
const listeners = new Set<() => void>();
let isOff = localStorage.getItem(OFF) === "yes";
let first = "";
let firstAt = 0;

/** Turn shortcuts off for people whose speech input or assistive technology types single letters. */
export function setShortcutsOff(off: boolean): void {
  isOff = off;
  localStorage.setItem(OFF, off ? "yes" : "no");
  for (const notify of listeners) notify();
}

export function useShortcutsOff(): boolean {
  return useSyncExternalStore(
    (notify) => {
      listeners.add(notify);
      return () => listeners.delete(notify);
    },
    () => isOff,
  );
}

export function shortcuts(): Shortcut[] {
  return [...registered].flatMap((entry) => entry.current);
}

/** Registered before the component is first painted; a plain effect runs after that, and a key pressed at once would be lost. */
export function useShortcuts(own: Shortcut[]): void {
  const latest = useRef(own);
  useLayoutEffect(() => {
    latest.current = own;
  });
  useLayoutEffect(() => {
    registered.add(latest);
    return () => { registered.delete(latest); };
  }, []);
}

/** Whether a key belongs to what has the focus: text that is typed, an open dialog or menu. */
function isTaken(event: KeyboardEvent): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return true;
  const target = event.target as HTMLElement;
  if (target.closest("input:not([type=checkbox]):not([type=radio]), select, textarea, [contenteditable], [role=menu]")) {
    return true;
  }
  if ((event.key === "Enter" || event.key === " ") && target.closest("button, a, input, summary, [role=tab]")) return true;
  return document.querySelector("dialog[open]") !== null;
}

export function handleKey(event: KeyboardEvent): void {
  if (isOff || isTaken(event)) return;
  const sequence = Date.now() - firstAt < SEQUENCE_MS ? `${first} ${event.key}` : event.key;
  const all = shortcuts();
  const found = all.findLast(({ keys }) => keys === sequence) ?? all.findLast(({ keys }) => keys === event.key);
  const begins = all.some(({ keys }) => keys.startsWith(`${event.key} `));
  first = !found && begins ? event.key : "";
  firstAt = first ? Date.now() : 0;
  if (!found) return;
  event.preventDefault();
  found.run();
}
