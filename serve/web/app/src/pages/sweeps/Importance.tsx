import type { Sweep } from "../../api/sweeps";
import { percent } from "../../format/format";

/** The share of each parameter in what separates the best trials from the others. */
export function Importance({ sweep }: { sweep: Sweep }) {
  const shares = Object.entries(sweep.importance ?? {});
  return (
    <section className="panel" aria-label="Importance of the parameters">
      <header className="toolbar">
        <h2>Importance</h2>
      </header>
      {shares.length === 0 && <p className="muted">{sweep.importance_note}</p>}
      <dl className="importance">
        {shares.map(([name, share]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <div className="bar" aria-hidden="true"><i className="bar-done" style={{ width: percent(share) }} /></div>
              <span className="numeric">{percent(share)}</span>
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
