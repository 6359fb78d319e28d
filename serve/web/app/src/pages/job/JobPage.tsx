import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, type ComponentType } from "react";
import { useShortcuts } from "../../app/keys";
import { useTitle } from "../../app/useTitle";
import { ApiError, type Job } from "../../api/client";
import { jobQuery } from "../../api/jobs";
import { lookOf } from "../../format/status";
import { isTraining } from "../../jobs/facts";
import { useDetailEvents } from "../../live/LiveProvider";
import { Link } from "../../router/Link";
import type { PageProps } from "../../router/pages";
import { navigate, useQueryState } from "../../router/router";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { Tabs } from "../../ui/Tabs";
import { Cure } from "./Cure";
import { JobHead } from "./JobHead";
import "./job.css";

export interface TabProps {
  job: Job;
}

interface Tab {
  name: string;
  label: string;
  component: ComponentType<TabProps>;
}

const TABS: Tab[] = [
  { name: "metrics", label: "Metrics", component: lazy(() => import("./MetricsTab")) },
  { name: "samples", label: "Samples", component: lazy(() => import("./SamplesTab")) },
  { name: "logs", label: "Logs", component: lazy(() => import("./LogsTab")) },
  { name: "checkpoints", label: "Checkpoints", component: lazy(() => import("./CheckpointsTab")) },
  { name: "events", label: "Events", component: lazy(() => import("./EventsTab")) },
  { name: "config", label: "Config", component: lazy(() => import("./ConfigTab")) },
  { name: "data", label: "Data", component: lazy(() => import("./DataTab")) },
  { name: "info", label: "Info", component: lazy(() => import("./InfoTab")) },
];

const RESULTS: Tab = { name: "results", label: "Results", component: lazy(() => import("./ResultsTab")) };
const EXPORT: Tab = { name: "export", label: "Export", component: lazy(() => import("./ExportTab")) };
const OF_TRAINING = ["metrics", "samples", "checkpoints", "data"];
const FIRST_OF_KIND: Record<string, Tab[]> = { evaluation: [RESULTS], export: [EXPORT] };

/** The tabs of a kind of jobs; the first one is shown first. */
const tabsOf = (job: Job): Tab[] =>
  isTraining(job)
    ? [...TABS, EXPORT]
    : [...(FIRST_OF_KIND[job.kind ?? ""] ?? []), ...TABS.filter(({ name }) => !OF_TRAINING.includes(name))];

export default function JobPage({ params }: PageProps) {
  const given = params["id"] ?? "";
  const { data: job, error, isPending, refetch } = useQuery(jobQuery(given));
  useDetailEvents();
  useTitle(job ? `${lookOf(job).glyph} ${job.name}` : "Job");
  useEffect(() => {
    // A name or the beginning of an id leads here too; the address is the id, which stays unique.
    if (job && job.id !== given) navigate(`/jobs/${job.id}${window.location.search}`, { replace: true });
  }, [job, given]);

  if (isPending) return <Loading lines={6} />;
  // What was read before stays in the cache when the job is deleted.
  if (error instanceof ApiError && error.status === 404) return <NoSuchJob />;
  if (!job) return <ErrorNote error={error} retry={() => void refetch()} />;
  return (
    <>
      <JobHead job={job} />
      {job.status === "failed" && <Cure job={job} />}
      <JobTabs job={job} />
    </>
  );
}

function JobTabs({ job }: TabProps) {
  const [query, setQuery] = useQueryState();
  const tabs = tabsOf(job);
  const current = tabs.find(({ name }) => name === query.get("tab")) ?? tabs[0];
  const select = (name: string) => { setQuery({ tab: name === tabs[0]?.name ? null : name }); };
  useShortcuts(tabs.map(({ name, label }, index) => ({ keys: String(index + 1), label, run: () => { select(name); } })));
  if (!current) return null;
  const Content = current.component;
  return (
    <Tabs tabs={tabs} current={current.name} onSelect={select} label="Parts of the job">
      <Suspense fallback={<Loading lines={3} />}>
        <Content job={job} />
      </Suspense>
    </Tabs>
  );
}

function NoSuchJob() {
  return (
    <EmptyState title="There is no such job">
      <p>
        It may have been deleted. Go to the <Link to="/">jobs</Link>.
      </p>
    </EmptyState>
  );
}
