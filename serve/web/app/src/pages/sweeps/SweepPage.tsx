import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError } from "../../api/client";
import { sweepQuery, type Sweep } from "../../api/sweeps";
import { useTitle } from "../../app/useTitle";
import { ChartPanel } from "../../charts/ChartPanel";
import { ago, count, duration, money, number } from "../../format/format";
import { Link } from "../../router/Link";
import type { PageProps } from "../../router/pages";
import { Icon } from "../../ui/Icon";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { Outside } from "../../ui/Outside";
import { StatePill } from "../../ui/Status";
import "../records.css";
import { bestSoFar, shown } from "./axes";
import { Importance } from "./Importance";
import { SWEEP_LOOKS } from "./looks";
import { ParallelCoordinates } from "./ParallelCoordinates";
import { SweepActions } from "./SweepActions";
import "./sweeps.css";
import { TrialTable } from "./TrialTable";

/** A sweep: its best trial, its trials in several views, and what mattered. */
export default function SweepPage({ params }: PageProps) {
  const { data: sweep, error, isPending, refetch } = useQuery(sweepQuery(params["id"] ?? ""));
  useTitle(sweep ? sweep.name : "Sweep");
  if (isPending) return <Loading lines={6} />;
  const isGone = error instanceof ApiError && error.status === 404;
  if (sweep && !isGone) return <Content sweep={sweep} />;
  if (!isGone) return <ErrorNote error={error} retry={() => void refetch()} />;
  return (
    <EmptyState title="There is no such sweep">
      <p>
        It may have been deleted. All sweeps are <Link to="/sweeps">listed here</Link>.
      </p>
    </EmptyState>
  );
}

function Content({ sweep }: { sweep: Sweep }) {
  const [pointed, setPointed] = useState<number | null>(null);
  const [now] = useState(() => Date.now());
  const hasValues = sweep.trials.some(({ value }) => typeof value === "number");
  return (
    <>
      <Link to="/sweeps" className="crumb small">
        <Icon name="back" /> Sweeps
      </Link>
      <div className="page-head">
        <div className="page-title sweep-title">
          <h1>{sweep.name}</h1>
          <StatePill look={SWEEP_LOOKS[sweep.status]} />
          <p className="muted small">
            {factsOf(sweep).join(" · ")} · submitted {ago(sweep.created_at, now)}
            {sweep.mlflow_url && <> · <Outside to={sweep.mlflow_url}>Its run in MLflow</Outside></>}
          </p>
        </div>
        <SweepActions sweep={sweep} />
      </div>
      <div className="parts">
        <p>{sweep.message}</p>
        {sweep.best && <Best sweep={sweep} />}
        {sweep.trials.length === 0 && <EmptyState title="No trials yet"><p>The first one appears within seconds.</p></EmptyState>}
        {hasValues && <ParallelCoordinates sweep={sweep} pointed={pointed} onPoint={setPointed} />}
        {sweep.best && <BestCurve sweep={sweep} />}
        {sweep.trials.length > 0 && <Importance sweep={sweep} />}
        {sweep.trials.length > 0 && <TrialTable sweep={sweep} pointed={pointed} onPoint={setPointed} />}
      </div>
    </>
  );
}

function Best({ sweep }: { sweep: Sweep }) {
  const { best } = sweep;
  if (!best) return null;
  return (
    <section className="panel best-trial" aria-label="Best trial">
      <header className="toolbar">
        <h2>
          Best: {best.job_id ? <Link to={`/jobs/${best.job_id}`}>trial {best.number}</Link> : `trial ${String(best.number)}`} with{" "}
          {sweep.objective.metric} {number(best.value)}
        </h2>
      </header>
      <dl className="facts">
        {Object.entries(best.parameters).map(([name, value]) => (
          <div key={name}>
            <dt className="muted">{name}</dt>
            <dd className="numeric">{shown(value)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function BestCurve({ sweep }: { sweep: Sweep }) {
  const line = { label: "Best so far", ...bestSoFar(sweep), color: "--run-1", hasPoints: true };
  const title = `Best ${sweep.objective.metric} by completed trial`;
  return <ChartPanel title={title} lines={[line]} axis="step" isLog={false} fileName={sweep.name} />;
}

function factsOf(sweep: Sweep): string[] {
  return [
    sweep.method.replace("_", " "),
    `${sweep.objective.direction} ${sweep.objective.metric}`,
    `${count(sweep.num_trials)} of ${count(sweep.max_trials)} trials`,
    sweep.run_time_s ? `ran for ${duration(sweep.run_time_s)}` : "",
    sweep.cost ? money(sweep.cost, sweep.currency) : "",
  ].filter(Boolean);
}
