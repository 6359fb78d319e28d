import { useEffect, useState } from "react";

/** `value`, once it has not changed for a while: for requests that follow typing. */
export function useSettled<T>(value: T, after_ms = 600): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => { setSettled(value); }, after_ms);
    return () => { clearTimeout(timer); };
  }, [value, after_ms]);
  return settled;
}
