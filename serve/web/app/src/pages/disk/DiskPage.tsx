import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Schemas } from "../../api/client";
import { diskQuery, type DiskReport } from "../../api/disk";
import { useTitle } from "../../app/useTitle";
import { bytes, count, counted, percent } from "../../format/format";
import { Link } from "../../router/Link";
import { Button } from "../../ui/Button";
import { ErrorNote, Loading } from "../../ui/Notes";
import { TableHead } from "../../ui/TableHead";
import { CleanUpDialog } from "./CleanUpDialog";
import "../records.css";
import "./disk.css";

type Kind = Schemas["DiskKind"];

const KINDS: Record<Kind, { label: string; noun: string }> = {
  datasets: { label: "Datasets", noun: "dataset" },
  checkpoints: { label: "Checkpoints", noun: "checkpoint" },
  models: { label: "Tuned models that share no file with a checkpoint", noun: "model" },
  exports: { label: "Artifacts of exports", noun: "artifact" },
  prepared: { label: "Prepared data, made again when needed", noun: "file" },
  hub: { label: "Base models from the hub", noun: "file" },
  mlflow: { label: "Artifacts of MLflow", noun: "file" },
};

/** What takes up the disk of the service. */
export default function DiskPage() {
  useTitle("Disk");
  const [isCleaning, setCleaning] = useState(false);
  const { data: report, error, refetch } = useQuery(diskQuery);
  return (
    <>
      <div className="page-head">
        <h1>Disk</h1>
        <Button onClick={() => { setCleaning(true); }}>Delete old checkpoints…</Button>
      </div>
      {error && <ErrorNote error={error} retry={() => void refetch()} />}
      {!report && !error && <Loading lines={6} />}
      {isCleaning && <CleanUpDialog onClose={() => { setCleaning(false); }} />}
      {report && (
        <div className="parts">
          <Space report={report} />
          <Kinds report={report} />
          <Jobs report={report} />
        </div>
      )}
    </>
  );
}

function Space({ report: { total_bytes: total, free_bytes: free } }: { report: DiskReport }) {
  const share = total ? (total - free) / total : 0;
  return (
    <section className="panel" aria-label="Space">
      <p><b className="numeric">{bytes(free)} free</b> <span className="muted numeric">of {bytes(total)}, {percent(share)} used</span></p>
      <div className="bar disk-bar"><i className="bar-done" style={{ width: percent(share) }} /></div>
    </section>
  );
}

function Kinds({ report }: { report: DiskReport }) {
  return (
    <table className="table stack records">
      <TableHead columns={["What", "Owner", "Number", "Size"]} />
      <tbody>
        {[...(report.data ?? []), ...(report.others ?? [])].map(({ kind, owner, num, size_bytes: size }) => (
          <tr key={`${kind} ${owner ?? ""}`}>
            <th scope="row">{KINDS[kind].label}</th>
            <td data-label="Owner">{owner ?? "shared by all"}</td>
            <td data-label="Number" className="numeric">{counted(num, KINDS[kind].noun)}</td>
            <td data-label="Size" className="numeric">{bytes(size)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Jobs({ report }: { report: DiskReport }) {
  const jobs = report.jobs ?? [];
  return (
    <section aria-labelledby="disk-jobs" className="disk-jobs">
      <h2 id="disk-jobs">Your jobs with the largest checkpoints</h2>
      {jobs.length === 0 ? (
        <p className="muted">No job has a checkpoint. Jobs with checkpoints are listed here, the largest first.</p>
      ) : (
        <table className="table stack records">
          <TableHead columns={["Job", "Checkpoints", "Size"]} />
          <tbody>
            {jobs.map((job) => (
              <tr key={job.job_id}>
                <th scope="row" className="record-name">
                  <Link to={`/jobs/${job.job_id}?tab=checkpoints`}>{job.name}</Link>
                  <span className="muted small">{job.job_id}</span>
                </th>
                <td data-label="Checkpoints" className="numeric">{count(job.num_checkpoints)}</td>
                <td data-label="Size" className="numeric">{bytes(job.size_bytes)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
