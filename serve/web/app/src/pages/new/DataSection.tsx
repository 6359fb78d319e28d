import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { datasetListQuery, datasetQuery, type Dataset } from "../../api/datasets";
import { methodOf, withMethod, withSettings } from "../../config/draft";
import type { JobSchema } from "../../config/schema";
import { Preview } from "../../data/Preview";
import { remarksOf, summaryOf } from "../../data/shape";
import { Link } from "../../router/Link";
import { DropZone } from "../../upload/DropZone";
import { Button } from "../../ui/Button";
import { ErrorNote, Loading } from "../../ui/Notes";
import { EvaluationChoice } from "./EvaluationChoice";
import { FieldProblem } from "./FieldProblem";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

interface Props {
  schema: JobSchema;
  control: DraftControl;
  problems: Problems;
}

/** The rows: a dropped file, or a dataset that is there. */
export function DataSection({ schema, control, problems }: Props) {
  const list = useInfiniteQuery(datasetListQuery);
  const datasets = list.data?.pages.flatMap((page) => page.data) ?? [];
  const given = control.draft.config["dataset"];
  const chosen = Array.isArray(given) ? given.map(String) : typeof given === "string" && given ? [given] : [];
  const choose = (dataset: Dataset) => { control.set(withDataset(schema, control.draft, dataset)); };
  return (
    <section className="panel part" aria-labelledby="data-title">
      <h2 id="data-title">Rows to train on</h2>
      <FieldProblem path="dataset" problems={problems} />
      {chosen.length === 0 ? (
        <>
          <DropZone onDone={choose} />
          {datasets.length > 0 && (
            <label className="field">
              Or a dataset that is there
              <select
                id="setting-dataset"
                value=""
                onChange={(event) => {
                  const found = datasets.find((dataset) => dataset.id === event.target.value);
                  if (found) choose(found);
                }}
              >
                <option value="">Choose a dataset</option>
                {datasets.map((dataset) => (
                  <option key={dataset.id} value={dataset.id}>{dataset.name}, {dataset.num_rows} rows</option>
                ))}
              </select>
            </label>
          )}
        </>
      ) : (
        <>
          {chosen.map((id, index) => (
            <Chosen key={`${id} ${String(index)}`} id={id} onRemove={() => { control.change({ dataset: remaining(chosen, index), dataset_weights: undefined }); }} />
          ))}
          <EvaluationChoice control={control} problems={problems} datasets={datasets} />
        </>
      )}
    </section>
  );
}

function Chosen({ id, onRemove }: { id: string; onRemove: () => void }) {
  const dataset = useQuery(datasetQuery(id));
  if (dataset.isPending) return <Loading lines={3} />;
  return (
    <>
      <div className="chosen-rows" id="setting-dataset" tabIndex={-1}>
        <div>
          {dataset.isSuccess ? <Link to={`/datasets/${dataset.data.id}`}>{dataset.data.name}</Link> : <strong>{id}</strong>}
          {dataset.isSuccess && <p className="muted small">{summaryOf(dataset.data)}</p>}
        </div>
        <Button look="ghost" onClick={onRemove}>Use other rows</Button>
      </div>
      {dataset.isError && <ErrorNote error={dataset.error} />}
      {dataset.isSuccess && (
        <>
          {remarksOf(dataset.data).map((remark) => <p key={remark} className="note note-warn">{remark}</p>)}
          <Preview id={dataset.data.id} rows={3} />
        </>
      )}
    </>
  );
}

function remaining(chosen: string[], index: number): string | string[] | undefined {
  const left = chosen.filter((_, at) => at !== index);
  return left.length > 1 ? left : left[0];
}

/** The draft with these rows, and with a method that learns from them where its own does not. */
function withDataset(schema: JobSchema, draft: DraftControl["draft"], dataset: Dataset) {
  const after = withSettings(draft, { dataset: dataset.id });
  const type = methodOf(after.config, schema.methods[0]?.type ?? "");
  const fitting = schema.methods.filter(({ rowKinds }) => rowKinds.includes(dataset.kind ?? ""));
  if (fitting.length === 0 || fitting.some((method) => method.type === type)) return after;
  const next = fitting[0]?.type ?? type;
  return withMethod(after, next, schema.settings(next).map(({ path }) => path));
}
