import { useQuery } from "@tanstack/react-query";
import { costsCsvAddress, costsQuery, type CostChoice, type CostSum } from "../../api/costs";
import { useTitle } from "../../app/useTitle";
import { count, money, number } from "../../format/format";
import { Link } from "../../router/Link";
import { useQueryState } from "../../router/router";
import { Icon } from "../../ui/Icon";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { TableHead } from "../../ui/TableHead";
import { choiceOf, GROUPS } from "./choice";
import { Filters } from "./Filters";
import "../records.css";
import "./costs.css";

/** What jobs cost, summed up. */
export default function CostsPage() {
  useTitle("Costs");
  const [query] = useQueryState();
  const choice = choiceOf(query);
  const { data: report, error, refetch } = useQuery(costsQuery(choice));
  const sums = report?.data ?? [];
  return (
    <>
      <div className="page-head">
        <h1>Costs</h1>
        {sums.length > 0 && (
          <a className="button" href={costsCsvAddress(choice)} download>
            <Icon name="download" /> Download as CSV
          </a>
        )}
      </div>
      <div className="parts">
        <Filters choice={choice} />
        {error && <ErrorNote error={error} retry={() => void refetch()} />}
        {!report && !error && <Loading lines={5} />}
        {report && sums.length === 0 && <NoCosts choice={choice} />}
        {report && sums.length > 0 && (
          <>
            <Totals totals={report.totals ?? []} />
            <Table sums={sums} choice={choice} />
          </>
        )}
      </div>
    </>
  );
}

function NoCosts({ choice }: { choice: CostChoice }) {
  if (choice.since || choice.until) {
    return (
      <EmptyState title="No attempt ended in this period">
        <p>The sums contain the attempts of jobs that ended between these days, in UTC. Choose another period.</p>
      </EmptyState>
    );
  }
  return (
    <EmptyState title="No costs yet">
      <p>Once an attempt of a job has ended, the hours of its devices are listed here.</p>
      <HowToSetPrices />
    </EmptyState>
  );
}

function HowToSetPrices() {
  return (
    <p>
      Amounts need prices: set <code>prices</code> and <code>currency</code> in <code>ftlab.toml</code>, such
      as <code>cpu = 0.04</code> below <code>[prices]</code>. They apply to attempts that end afterwards.
    </p>
  );
}

function Totals({ totals }: { totals: CostSum[] }) {
  const isPriced = totals.some(({ amount }) => typeof amount === "string");
  return (
    <>
      {!isPriced && <div className="note"><HowToSetPrices /></div>}
      <dl className="totals">
        {totals.map((total) => (
          <div key={total.currency ?? ""} className="panel">
            <dt className="muted">{total.currency ? `Total in ${total.currency}` : "Without a price"}</dt>
            <dd className="numeric">{total.currency ? money(total.amount, total.currency) : hours(total)}</dd>
            <dd className="muted small numeric">{total.currency ? hours(total) : "no amount"}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function Table({ sums, choice }: { sums: CostSum[]; choice: CostChoice }) {
  const column = GROUPS.find(({ name }) => name === choice.by)?.column ?? "";
  return (
    <table className="table stack records">
      <TableHead columns={[column, "Attempts", "CPU core hours", "GPU hours", "Amount"]} />
      <tbody>
        {sums.map((sum) => (
          <tr key={`${sum.key} ${sum.currency ?? ""}`}>
            <th scope="row" className="record-name"><Key sum={sum} choice={choice} /></th>
            <td className="numeric" data-label="Attempts">{count(sum.num_attempts)}</td>
            <td className="numeric" data-label="CPU core hours">{number(Number(sum.cpu_hours))}</td>
            <td className="numeric" data-label="GPU hours">{number(Number(sum.gpu_hours))}</td>
            <td className="numeric" data-label="Amount">{money(sum.amount, sum.currency)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Key({ sum, choice }: { sum: CostSum; choice: CostChoice }) {
  if (choice.by !== "job") return <span>{sum.key}</span>;
  return (
    <>
      <Link to={`/jobs/${sum.key}`}>{sum.name ?? sum.key}</Link>
      <span className="muted small">{sum.key}</span>
    </>
  );
}

function hours(sum: CostSum): string {
  const parts = [
    Number(sum.gpu_hours) ? `${number(Number(sum.gpu_hours))} GPU hours` : "",
    Number(sum.cpu_hours) ? `${number(Number(sum.cpu_hours))} CPU core hours` : "",
  ];
  return parts.filter(Boolean).join(", ") || "no hours";
}
