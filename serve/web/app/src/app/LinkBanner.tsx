import { clock, duration } from "../format/format";
import { useLive } from "../live/LiveProvider";
import { useNow } from "./useNow";

/** A connection that is repaired at once is not worth a banner. */
const PATIENCE_MS = 1500;

/** Says that the service is unreachable, and how old is what is shown. */
export function LinkBanner() {
  const { lostAt } = useLive();
  const now = useNow(1000, lostAt !== null);
  const isShown = lostAt !== null && now - lostAt > PATIENCE_MS;
  return (
    <div role="status" className={isShown ? "banner" : undefined}>
      {isShown && (
        <>
          The service does not answer. This page shows the state of {clock(lostAt)}, {duration((now - lostAt) / 1000)} ago,
          and continues by itself when the service is back.
        </>
      )}
    </div>
  );
}
