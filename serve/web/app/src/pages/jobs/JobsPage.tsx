import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTitle } from "../../app/useTitle";
import type { Job } from "../../api/client";
import { jobListQuery } from "../../api/jobs";
import { sparkQuery } from "../../api/series";
import { recordsOf } from "../../api/pages";
import { navigate, useQueryState } from "../../router/router";
import { Button } from "../../ui/Button";
import { RecordList } from "../../ui/RecordList";
import { Link } from "../../router/Link";
import { MAX_COMPARED } from "../compare/chosen";
import { filterOf } from "./filter";
import { Filters } from "./Filters";
import { JobTable } from "./JobTable";
import { NoJobs } from "./NoJobs";
import { useListKeys } from "./useListKeys";

export function JobsPage() {
  useTitle("Jobs");
  const [query] = useQueryState();
  const filter = filterOf(query);
  const list = useInfiniteQuery({ ...jobListQuery(filter), placeholderData: keepPreviousData });
  const jobs = recordsOf(list.data);
  const sparks = useQuery(sparkQuery(started(jobs), "loss"));
  const [marked, setMarked] = useState<string[]>([]);
  // By what was marked before: rows keep an older `toggle` until they change themselves.
  const toggle = (id: string) => { setMarked((before) => toggled(before, id)); };
  const current = useListKeys(jobs, toggle, () => { compare(marked); });

  return (
    <>
      <div className="page-head">
        <h1>Jobs</h1>
        <Link to="/new" className="button button-primary">New job</Link>
      </div>
      <Filters filter={filter} />
      {marked.length > 0 && <Selection marked={marked} onClear={() => { setMarked([]); }} />}
      <RecordList list={list} isEmpty={jobs.length === 0} empty={<NoJobs filter={filter} />} older="Show older jobs">
        <JobTable jobs={jobs} sparks={sparks.data ?? {}} marked={marked} onMark={toggle} current={current} />
      </RecordList>
    </>
  );
}

/** The jobs that may have a curve; few enough for one request. */
function started(jobs: Job[]): string[] {
  return jobs
    .filter((job) => (job.step ?? 0) > 0)
    .map((job) => job.id)
    .slice(0, 100);
}

function toggled(marked: string[], id: string): string[] {
  return marked.includes(id) ? marked.filter((other) => other !== id) : [...marked, id].slice(-MAX_COMPARED);
}

function compare(marked: string[]): void {
  if (marked.length > 1) navigate(`/compare?jobs=${marked.join(",")}`);
}

function Selection({ marked, onClear }: { marked: string[]; onClear: () => void }) {
  return (
    <div className="selection" role="status">
      <span>
        {marked.length === 1 ? "1 job marked: mark another one to compare them." : `${String(marked.length)} jobs marked`}
      </span>
      <Button look="primary" disabled={marked.length < 2} onClick={() => { compare(marked); }}>
        Compare
      </Button>
      <Button look="ghost" onClick={onClear}>Clear</Button>
    </div>
  );
}
