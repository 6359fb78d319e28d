import { useEffect, useState } from "react";

/** The current time, again every `interval` while the page is visible. */
export function useNow(interval_ms = 1000, isActive = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!isActive) return;
    const timer = setInterval(() => {
      if (!document.hidden) setNow(Date.now());
    }, interval_ms);
    return () => { clearInterval(timer); };
  }, [interval_ms, isActive]);
  return now;
}
