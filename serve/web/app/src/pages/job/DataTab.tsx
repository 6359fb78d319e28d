import { useQuery } from "@tanstack/react-query";
import type { Schemas } from "../../api/client";
import { datasetQuery } from "../../api/datasets";
import { eventsQuery } from "../../api/jobParts";
import { bytes, count } from "../../format/format";
import { configOf, datasetsOf } from "../../jobs/facts";
import { Link } from "../../router/Link";
import { ErrorNote, Loading } from "../../ui/Notes";
import type { TabProps } from "./JobPage";

/** Notices about the rows of a job. */
const ABOUT_DATA = new Set(["data_checked", "rows_cut", "datasets_mixed", "eval_split", "prompts_too_long", "files_appended"]);

export default function DataTab({ job }: TabProps) {
  const held = configOf(job).eval_dataset;
  const { data: events = [] } = useQuery(eventsQuery(job.id, "events", ["notice"]));
  const notices = events.map((event) => event.data as Schemas["NoticePayload"]).filter(({ code }) => ABOUT_DATA.has(code));
  return (
    <>
      <div className="datasets">
        {datasetsOf(job).map((id, index) => (
          <DatasetCard key={`${id}-${String(index)}`} id={id} use={datasetsOf(job).length > 1 ? `Training, file ${String(index + 1)}` : "Training"} />
        ))}
        {held && <DatasetCard id={held} use="Evaluation" />}
      </div>
      {notices.length > 0 && (
        <section className="panel" aria-labelledby="data-notices">
          <h3 id="data-notices">What the service found in the rows</h3>
          <ul className="sentences">
            {notices.map((notice, index) => <li key={index}>{notice.message}</li>)}
          </ul>
        </section>
      )}
    </>
  );
}

function DatasetCard({ id, use }: { id: string; use: string }) {
  const { data, error, refetch } = useQuery(datasetQuery(id));
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (!data) return <Loading lines={1} />;
  return (
    <section className="panel" aria-label={`${use}: ${data.name}`}>
      <p className="muted small">{use}</p>
      <h3><Link to={`/datasets/${data.id}`}>{data.name}</Link></h3>
      <p className="small">
        {count(data.num_rows)} rows · {data.shape.replaceAll("_", " ")} · {data.format} · {bytes(data.size_bytes)}
      </p>
      {(data.num_skipped ?? 0) > 0 && <p className="small">{count(data.num_skipped)} rows were skipped.</p>}
    </section>
  );
}
