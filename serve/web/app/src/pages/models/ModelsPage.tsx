import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { modelListQuery, pinModel, type TunedModel } from "../../api/models";
import { recordsOf } from "../../api/pages";
import { useTitle } from "../../app/useTitle";
import { ago, count } from "../../format/format";
import { modelAddress } from "../../jobs/JobActions";
import { Link } from "../../router/Link";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { Menu } from "../../ui/Menu";
import { EmptyState, ErrorNote } from "../../ui/Notes";
import { RecordList } from "../../ui/RecordList";
import { TableHead } from "../../ui/TableHead";
import { CleanUpModels } from "./CleanUpModels";
import "../records.css";

const KINDS: Record<string, string> = { adapter: "adapter", full: "all weights" };

/** What jobs have delivered. */
export default function ModelsPage() {
  useTitle("Models");
  const [isCleaning, setCleaning] = useState(false);
  const list = useInfiniteQuery(modelListQuery);
  const models = recordsOf(list.data);
  return (
    <>
      <div className="page-head">
        <h1>Models</h1>
        {models.length > 0 && <Button onClick={() => { setCleaning(true); }}>Delete old models…</Button>}
      </div>
      {isCleaning && <CleanUpModels onClose={() => { setCleaning(false); }} />}
      <RecordList list={list} isEmpty={models.length === 0} empty={<NoModels />} older="Show older models">
        <Table models={models} />
      </RecordList>
    </>
  );
}

function NoModels() {
  return (
    <EmptyState title="No tuned models yet">
      <p>
        A job delivers a tuned model when it completes. <Link to="/new">Submit a job</Link> to get the first one.
      </p>
    </EmptyState>
  );
}

function Table({ models }: { models: TunedModel[] }) {
  const client = useQueryClient();
  const pinning = useMutation({
    mutationFn: ({ id, is_pinned: isPinned }: TunedModel) => pinModel(id, !isPinned),
    onSettled: () => client.invalidateQueries({ queryKey: modelListQuery.queryKey }),
  });
  return (
    <>
    {pinning.error && <ErrorNote error={pinning.error} />}
    <table className="table stack records models">
      <TableHead columns={["Name", "Base model", "Trained", "Step", "Delivered", { hidden: "Actions" }]} />
      <tbody>
        {models.map((model) => (
          <tr key={model.id}>
            <th scope="row" className="record-name">
              <Link to={`/jobs/${model.job_id}`}>{model.name}</Link>{" "}
              {model.is_pinned && <span className="pill pill-active">⚲ pinned</span>}
              <span className="muted small">{model.id}</span>
            </th>
            <td data-label="Base model">{model.base_model}</td>
            <td data-label="Trained">{KINDS[model.kind] ?? model.kind}</td>
            <td className="numeric" data-label="Step">{count(model.step)}</td>
            <td data-label="Delivered">{ago(model.created_at)}</td>
            <td className="record-actions">
              <div className="buttons">
                <Link className="button" to={`/chat?model=${encodeURIComponent(model.id)}`} aria-label={`Chat with ${model.name}`}>
                  Chat
                </Link>
                <Link
                  className="button"
                  to={`/evaluate?model=${encodeURIComponent(`model:${model.id}`)}`}
                  aria-label={`Evaluate ${model.name}`}
                >
                  Evaluate
                </Link>
                <Link className="button" to={`/new?model=${encodeURIComponent(`model:${model.id}`)}`} aria-label={`Use as base: ${model.name}`}>
                  Use as base
                </Link>
                <a className="button" href={modelAddress(model.job_id)} download aria-label={`Download ${model.name}`}>
                  <Icon name="download" />
                  Download
                </a>
                <Menu
                  label={`Actions for ${model.name}`}
                  items={[{ label: model.is_pinned ? "Unpin it" : "Pin it", run: () => { pinning.mutate(model); } }]}
                />
              </div>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
    </>
  );
}
