import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { datasetListQuery, type Dataset } from "../../api/datasets";
import { recordsOf } from "../../api/pages";
import { datasetsOf, withAdded } from "../../config/datasets";
import { methodOf, withMethod, withSettings } from "../../config/draft";
import type { JobSchema } from "../../config/schema";
import { OlderDatasets } from "../../data/OlderDatasets";
import { DropZone } from "../../upload/DropZone";
import type { UploadPhase } from "../../upload/useUpload";
import { Button } from "../../ui/Button";
import { ChosenDatasets } from "./ChosenDatasets";
import { EvaluationChoice } from "./EvaluationChoice";
import { FieldProblem } from "./FieldProblem";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

interface Props {
  schema: JobSchema;
  control: DraftControl;
  problems: Problems;
  onUpload: (phase: UploadPhase | null) => void;
}

/** The rows: dropped files, or datasets that are there. */
export function DataSection({ schema, control, problems, onUpload }: Props) {
  const list = useInfiniteQuery(datasetListQuery);
  const datasets = recordsOf(list.data);
  const chosen = datasetsOf(control.draft.config);
  const choose = (dataset: Dataset) => { control.apply((draft) => withDataset(schema, draft, dataset)); };
  return (
    <section className="panel part" aria-labelledby="data-title">
      <h2 id="data-title">Rows to train on</h2>
      <FieldProblem path="dataset" problems={problems} />
      {chosen.length === 0 ? (
        <>
          <DropZone onDone={choose} onPhase={onUpload} />
          {datasets.length > 0 && <DatasetChoice id="setting-dataset" label="Or a dataset that is there" datasets={datasets} onChoose={choose} />}
        </>
      ) : (
        <>
          <ChosenDatasets control={control} problems={problems} />
          <AddDataset
            datasets={datasets.filter(({ id, name }) => !chosen.includes(id) && !chosen.includes(name))}
            onAdd={(dataset) => { control.apply((draft) => withSettings(draft, withAdded(draft.config, dataset.id))); }}
            onUpload={onUpload}
          />
          <EvaluationChoice control={control} problems={problems} datasets={datasets} />
        </>
      )}
      <OlderDatasets list={list} />
    </section>
  );
}

interface AddProps {
  datasets: Dataset[];
  onAdd: (dataset: Dataset) => void;
  onUpload: (phase: UploadPhase | null) => void;
}

/** Rows besides those that are chosen: of a dataset that is there, or of another file. */
function AddDataset({ datasets, onAdd, onUpload }: AddProps) {
  const [isUploading, setUploading] = useState(false);
  if (isUploading) {
    return (
      <DropZone
        onPhase={onUpload}
        onDone={(dataset) => {
          setUploading(false);
          onAdd(dataset);
        }}
      />
    );
  }
  return (
    <div className="add-dataset">
      {datasets.length > 0 && <DatasetChoice id="add-dataset" label="Add another dataset" datasets={datasets} onChoose={onAdd} />}
      <Button onClick={() => { setUploading(true); }}>Add another file</Button>
    </div>
  );
}

interface ChoiceProps {
  id: string;
  label: string;
  datasets: Dataset[];
  onChoose: (dataset: Dataset) => void;
}

function DatasetChoice({ id, label, datasets, onChoose }: ChoiceProps) {
  return (
    <label className="field">
      {label}
      <select
        id={id}
        value=""
        onChange={(event) => {
          const found = datasets.find((dataset) => dataset.id === event.target.value);
          if (found) onChoose(found);
        }}
      >
        <option value="">Choose a dataset</option>
        {datasets.map((dataset) => (
          <option key={dataset.id} value={dataset.id}>{dataset.name}, {dataset.num_rows} rows</option>
        ))}
      </select>
    </label>
  );
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
