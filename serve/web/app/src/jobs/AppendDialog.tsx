import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { Job } from "../api/client";
import { datasetListQuery } from "../api/datasets";
import { appendFiles } from "../api/jobs";
import { recordsOf } from "../api/pages";
import { OlderDatasets } from "../data/OlderDatasets";
import { counted } from "../format/format";
import { Link } from "../router/Link";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { ErrorNote, Loading } from "../ui/Notes";
import { useChange } from "./useChange";

/** Has a job train on one more dataset, after those that it has. */
export function AppendDialog({ job, onClose }: { job: Job; onClose: () => void }) {
  const list = useInfiniteQuery(datasetListQuery);
  const { data, error: loadError } = list;
  const datasets = recordsOf(data);
  const [chosen, setChosen] = useState("");
  const change = useChange(job);
  const appending = useMutation({ mutationFn: () => change((id) => appendFiles(id, [chosen])) });
  const footer = (
    <>
      <Button onClick={onClose}>Leave it</Button>
      <Button look="primary" disabled={!chosen || appending.isPending} onClick={() => { appending.mutate(undefined, { onSuccess: onClose }); }}>Append the dataset</Button>
    </>
  );
  return (
    <Dialog title={`Append to ${job.name}`} onClose={onClose} footer={footer}>
      {loadError && <ErrorNote error={loadError} />}
      {!data && !loadError && <Loading lines={1} />}
      {data && (
        <label className="field">
          Dataset
          <select data-first value={chosen} onChange={(event) => { setChosen(event.target.value); }}>
            <option value="">Choose one</option>
            {datasets.map(({ id, name, num_rows: rows }) => <option key={id} value={id}>{name}, {counted(rows, "row")}</option>)}
          </select>
        </label>
      )}
      <OlderDatasets list={list} />
      <p className="muted small">
        It is trained after the datasets that the job has. {job.status === "completed" && "The job returns to the queue and continues from its last checkpoint. "}
        Upload a file on the page <Link to="/datasets">Datasets</Link> first.
      </p>
      {appending.error && <ErrorNote error={appending.error} />}
    </Dialog>
  );
}
