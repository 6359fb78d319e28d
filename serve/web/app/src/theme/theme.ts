/** Light, dark, or as the system has it; kept in this browser. */
import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";

const KEY = "ftlab:theme";
const CHANGED = "ftlab:theme-changed";
const DARK = "(prefers-color-scheme: dark)";

export function readTheme(): Theme {
  const stored = localStorage.getItem(KEY);
  return stored === "light" || stored === "dark" ? stored : "system";
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function setTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  applyTheme(theme);
  window.dispatchEvent(new Event(CHANGED));
}

export function toggleTheme(): void {
  setTheme(isDark() ? "light" : "dark");
}

function isDark(): boolean {
  const theme = readTheme();
  return theme === "dark" || (theme === "system" && window.matchMedia(DARK).matches);
}

function subscribe(notify: () => void): () => void {
  const media = window.matchMedia(DARK);
  media.addEventListener("change", notify);
  window.addEventListener(CHANGED, notify);
  return () => {
    media.removeEventListener("change", notify);
    window.removeEventListener(CHANGED, notify);
  };
}

/** The theme that is shown. */
export const useIsDark = (): boolean => useSyncExternalStore(subscribe, isDark);

/** A colour of the style sheet as it is now, for drawing on a canvas. */
export function colorOf(name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}
