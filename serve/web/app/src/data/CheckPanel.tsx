import { useQuery } from "@tanstack/react-query";
import { checkQuery, isReport, type CheckReport, type Reading } from "../api/datasets";
import { count, counted, percent } from "../format/format";
import { Button } from "../ui/Button";
import { ErrorNote, Loading } from "../ui/Notes";
import { Findings } from "./Findings";
import { LengthBars } from "./LengthBars";
import "./data.css";

interface Props {
  id: string;
  reading: Reading;
  onRow?: (row: number) => void;
  /** Sets `method.max_length`. */
  onLength?: (length: number) => void;
}

/** What the doctor says about a dataset as a job with this model reads it. */
export function CheckPanel({ id, reading, onRow, onLength }: Props) {
  const check = useQuery(checkQuery(id, reading));
  if (check.isError) return <ErrorNote error={check.error} retry={() => void check.refetch()} />;
  if (!check.isSuccess) return <Loading lines={3} label="Checking the rows" />;
  if (!isReport(check.data)) {
    const { done_rows: done, total_rows: total } = check.data;
    return (
      <p className="note" role="status">
        Checking the rows{total ? `: ${count(done)} of ${count(total)}` : ""}…
      </p>
    );
  }
  return <Report report={check.data} onRow={onRow} onLength={onLength} />;
}

function Report({ report, onRow, onLength }: { report: CheckReport } & Partial<Pick<Props, "onRow" | "onLength">>) {
  const suggested = report.suggested_max_length;
  const canShorten = onLength && suggested !== report.max_length && (report.num_truncated > 0 || suggested < report.max_length);
  return (
    <div className="report">
      <dl className="figures">
        <Fact name="Rows" value={count(report.num_rows)} />
        <Fact name="Tokens per epoch" value={count(report.tokens_per_epoch)} />
        <Fact name="Trained tokens" value={share(report.trained_tokens_per_epoch, report.tokens_per_epoch)} />
        <Fact name="Longest row" value={counted(report.lengths.longest ?? 0, "token")} />
        <Fact name="Truncated rows" value={count(report.num_truncated)} />
        <Fact name="Duplicates" value={count((report.duplicates.num_exact ?? 0) + (report.duplicates.num_near ?? 0))} />
        {report.overlap && <Fact name="Rows in both datasets" value={count(report.overlap.num_exact + report.overlap.num_near)} />}
      </dl>
      <LengthBars lengths={report.lengths} maxLength={report.max_length} />
      {canShorten && (
        <p className="small">
          A <code>method.max_length</code> of {count(suggested)} truncates at most 1% of the rows.{" "}
          <Button look="ghost" className="inline" onClick={() => { onLength(suggested); }}>Use {count(suggested)}</Button>
        </p>
      )}
      <Findings report={report} onRow={onRow} />
    </div>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="numeric">{value}</dd>
    </div>
  );
}

function share(part: number, whole: number): string {
  return whole ? `${count(part)} (${percent(part / whole)})` : count(part);
}
