import { useInfiniteQuery } from "@tanstack/react-query";
import { sweepListQuery, type SweepSummary } from "../../api/sweeps";
import { recordsOf } from "../../api/pages";
import { useTitle } from "../../app/useTitle";
import { ago, count, NONE, number } from "../../format/format";
import { Link } from "../../router/Link";
import { EmptyState } from "../../ui/Notes";
import { RecordList } from "../../ui/RecordList";
import { StatePill } from "../../ui/Status";
import { TableHead } from "../../ui/TableHead";
import "../records.css";
import { SWEEP_LOOKS } from "./looks";

/** Searches for settings. */
export default function SweepsPage() {
  useTitle("Sweeps");
  const list = useInfiniteQuery(sweepListQuery);
  const sweeps = recordsOf(list.data);
  return (
    <>
      <div className="page-head">
        <h1>Sweeps</h1>
      </div>
      <RecordList list={list} isEmpty={sweeps.length === 0} empty={<NoSweeps />} older="Show older sweeps">
        <Table sweeps={sweeps} />
      </RecordList>
    </>
  );
}

function NoSweeps() {
  return (
    <EmptyState title="No sweeps yet">
      <p>
        A sweep repeats a job with other settings, and finds the best ones. Start one with the command{" "}
        <code>ftlab sweep sweep.yaml</code>.
      </p>
    </EmptyState>
  );
}

function Table({ sweeps }: { sweeps: SweepSummary[] }) {
  return (
    <table className="table stack records">
      <TableHead columns={["Name", "State", "Method", "Trials", "Best", "Submitted"]} />
      <tbody>
        {sweeps.map((sweep) => (
          <tr key={sweep.id}>
            <th scope="row" className="record-name">
              <Link to={`/sweeps/${sweep.id}`}>{sweep.name}</Link>
              <span className="muted small">{sweep.id}</span>
            </th>
            <td data-label="State"><StatePill look={SWEEP_LOOKS[sweep.status]} /></td>
            <td data-label="Method">{sweep.method.replace("_", " ")}</td>
            <td className="numeric" data-label="Trials">{count(sweep.num_trials)} of {count(sweep.max_trials)}</td>
            <td className="numeric" data-label="Best">{sweep.best ? `${sweep.objective.metric} ${number(sweep.best.value)}` : NONE}</td>
            <td data-label="Submitted">{ago(sweep.created_at)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
