import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { checkpointsQuery } from "../../api/jobParts";
import { ago, bytes, number } from "../../format/format";
import { actionsOf } from "../../format/status";
import { modelAddress } from "../../jobs/JobActions";
import { ResumeButton } from "../../jobs/ResumeButton";
import { Icon } from "../../ui/Icon";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { TableHead } from "../../ui/TableHead";
import { CheckpointMenu } from "./CheckpointMenu";
import type { TabProps } from "./JobPage";

export default function CheckpointsTab({ job }: TabProps) {
  const { data, error, refetch } = useQuery(checkpointsQuery(job.id));
  const [now] = useState(() => Date.now());
  const [failure, setFailure] = useState<unknown>(null);
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (!data) return <Loading lines={3} />;
  if (data.length === 0) {
    return (
      <EmptyState title="No checkpoint yet">
        <p>
          One is saved every <code>training.save_steps</code> steps, and when the job is paused.
        </p>
      </EmptyState>
    );
  }
  const canResume = actionsOf(job).has("resume");
  return (
    <>
      {failure !== null && <ErrorNote error={failure} />}
      <table className="table stack checkpoints">
        <TableHead columns={["Step", "Eval loss", "Size", "Attempt", "Saved", { hidden: "Actions" }]} />
        <tbody>
          {data.map((checkpoint) => (
            <tr key={checkpoint.name}>
              <th scope="row" className="numeric">
                {checkpoint.step} {checkpoint.is_best && <span className="pill pill-good">✓ best</span>}{" "}
                {checkpoint.is_pinned && <span className="pill pill-active">⚲ pinned</span>}
              </th>
              <td data-label="Eval loss" className="numeric">{number(checkpoint.metrics?.["eval_loss"])}</td>
              <td data-label="Size" className="numeric">{bytes(checkpoint.size_bytes)}</td>
              <td data-label="Attempt" className="numeric">{checkpoint.attempt}</td>
              <td data-label="Saved">{ago(checkpoint.created_at, now)}</td>
              <td className="actions">
                <a className="button" href={modelAddress(job.id, checkpoint.name)} download>
                  <Icon name="download" /> Download
                </a>
                {canResume && <ResumeButton job={job} checkpoint={checkpoint.name} label="Resume from here" look="plain" />}
                <CheckpointMenu job={job} checkpoint={checkpoint} onError={setFailure} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
