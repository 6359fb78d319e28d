import type { Sweep } from "../../api/sweeps";
import { duration, NONE, number } from "../../format/format";
import { lookOf } from "../../format/status";
import { Link } from "../../router/Link";
import { StatePill } from "../../ui/Status";
import { TableHead } from "../../ui/TableHead";
import { shortName, shown } from "./axes";
import { TRIAL_LOOKS } from "./looks";

interface Props {
  sweep: Sweep;
  pointed: number | null;
  onPoint: (trial: number | null) => void;
}

/** Every trial with its values and its result. */
export function TrialTable({ sweep, pointed, onPoint }: Props) {
  const names = Object.keys(sweep.config["parameters"] as object);
  return (
    <div className="trials">
      <table className="table stack records">
        <TableHead columns={["Trial", "State", sweep.objective.metric, ...names.map(shortName), "Took", "Message"]} />
        <tbody>
          {sweep.trials.map((trial) => (
            <tr
              key={trial.number}
              className={trial.number === pointed ? "trial-row-pointed" : undefined}
              onPointerEnter={() => { onPoint(trial.number); }}
              onPointerLeave={() => { onPoint(null); }}
            >
              <th scope="row" className="numeric">
                {trial.job_id ? <Link to={`/jobs/${trial.job_id}`}>Trial {trial.number}</Link> : `Trial ${String(trial.number)}`}
                {trial.number === sweep.best?.number && <span className="muted small"> best</span>}
              </th>
              <td data-label="State"><StatePill look={trial.job_status ? lookOf({ status: trial.job_status }) : TRIAL_LOOKS[trial.state]} /></td>
              <td className="numeric" data-label={sweep.objective.metric}>{number(trial.value)}</td>
              {names.map((name) => (
                <td key={name} className="numeric" data-label={shortName(name)}>{shown(trial.parameters[name])}</td>
              ))}
              <td className="numeric" data-label="Took">{trial.run_time_s ? duration(trial.run_time_s) : NONE}</td>
              <td data-label="Message" className="small trial-message">{trial.message ?? NONE}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
