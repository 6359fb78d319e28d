import type { JobFilter } from "../../api/jobs";
import { Link } from "../../router/Link";
import { EmptyState } from "../../ui/Notes";

export function NoJobs({ filter }: { filter: JobFilter }) {
  if (filter.search || filter.statuses.length) {
    return (
      <EmptyState title="No job matches">
        <p>
          Change the search or the status, or show <Link to="/">all jobs</Link>.
        </p>
      </EmptyState>
    );
  }
  return (
    <EmptyState title="No jobs yet">
      <p>A job trains a base model on your rows and delivers a tuned model.</p>
      <p>
        <Link to="/new">Submit a job</Link> with a file of rows: JSONL, CSV or Parquet. From a terminal:{" "}
        <code>ftlab submit job.yaml</code>.
      </p>
    </EmptyState>
  );
}
