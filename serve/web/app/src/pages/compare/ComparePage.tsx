import { useQueries } from "@tanstack/react-query";
import { useTitle } from "../../app/useTitle";
import type { Job } from "../../api/client";
import { jobQuery } from "../../api/jobs";
import { Link } from "../../router/Link";
import { useQueryState } from "../../router/router";
import { Button } from "../../ui/Button";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { Tabs } from "../../ui/Tabs";
import { AddJob } from "./AddJob";
import { chosenJobs, JOBS } from "./chosen";
import { ComparedCurves } from "./ComparedCurves";
import { ComparedResults, reportAddress } from "./ComparedResults";
import { ComparedSamples } from "./ComparedSamples";
import { ConfigDifference } from "./ConfigDifference";
import { RunList } from "./RunList";
import "./compare.css";

const TABS = [
  { name: "curves", label: "Curves" },
  { name: "results", label: "Results and data" },
  { name: "config", label: "Config" },
  { name: "samples", label: "Samples" },
];

export default function ComparePage() {
  useTitle("Compare");
  const [query, setQuery] = useQueryState();
  const ids = chosenJobs(query);
  const found = useQueries({ queries: ids.map(jobQuery) });
  const jobs = found.flatMap(({ data }) => data ?? []);
  const failed = ids.flatMap((id, index) => (found[index]?.error ? [{ id, error: found[index].error }] : []));
  const choose = (chosen: string[]) => { setQuery({ [JOBS]: chosen.join(",") }); };
  return (
    <>
      <div className="page-head">
        <h1>Compare</h1>
        {jobs.length > 1 && <a className="button" href={reportAddress(jobs.map(({ id }) => id))} target="_blank" rel="noreferrer">Report</a>}
        <AddJob chosen={ids} onAdd={(id) => { choose([...ids, id]); }} />
      </div>
      {ids.length === 0 && (
        <EmptyState title="Choose the jobs to compare">
          <p>
            Add jobs above, or mark them in the list of <Link to="/">jobs</Link> and choose Compare.
          </p>
        </EmptyState>
      )}
      {failed.map(({ id, error }) => (
        <div key={id} className="without">
          <ErrorNote error={error} />
          <Button onClick={() => { choose(ids.filter((other) => other !== id)); }}>Compare without {id}</Button>
        </div>
      ))}
      {found.some(({ isPending }) => isPending) && <Loading lines={3} />}
      {jobs.length > 0 && (
        <>
          <RunList jobs={jobs} onRemove={(id) => { choose(ids.filter((other) => other !== id)); }} />
          <Content jobs={jobs} />
        </>
      )}
    </>
  );
}

function Content({ jobs }: { jobs: Job[] }) {
  const [query, setQuery] = useQueryState();
  const current = TABS.find(({ name }) => name === query.get("tab"))?.name ?? "curves";
  return (
    <Tabs
      tabs={TABS}
      current={current}
      label="Parts of the comparison"
      onSelect={(name) => { setQuery({ tab: name === "curves" ? null : name }); }}
    >
      {current === "curves" && <ComparedCurves jobs={jobs} />}
      {current === "results" && <ComparedResults jobs={jobs} />}
      {current === "config" && <ConfigDifference jobs={jobs} />}
      {current === "samples" && <ComparedSamples jobs={jobs} />}
    </Tabs>
  );
}
