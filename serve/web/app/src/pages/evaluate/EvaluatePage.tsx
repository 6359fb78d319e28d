import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Fragment, useMemo, useState, type ReactNode } from "react";
import { datasetListQuery, type Dataset } from "../../api/datasets";
import { ApiError, type Schemas } from "../../api/client";
import { estimateQuery, evaluationOptionsQuery } from "../../api/newJob";
import { recordsOf } from "../../api/pages";
import { useSettled } from "../../app/useSettled";
import { useTitle } from "../../app/useTitle";
import type { Config } from "../../config/draft";
import { settingAtFault } from "../../config/values";
import { KnownModels } from "../../data/KnownModels";
import { OlderDatasets } from "../../data/OlderDatasets";
import { useQueryState } from "../../router/router";
import { Button } from "../../ui/Button";
import { ErrorNote } from "../../ui/Notes";
import { DropZone } from "../../upload/DropZone";
import { Estimate } from "../new/Estimate";
import { FieldProblem } from "../new/FieldProblem";
import { useSubmission } from "../new/useSubmission";
import { configOf, MEASURED_KINDS, pathsOf, type Choice } from "./choice";
import { MetricsPart } from "./MetricsPart";
import { TasksPart } from "./TasksPart";
import "../records.css";
import "../new/new.css";
import "./evaluate.css";

export type Change = (changes: Partial<Choice>) => void;
export type Options = Schemas["EvaluationOptions"];
export interface Problems {
  byPath: Record<string, string>;
}

/** Measures a model and its base model on rows of the user. */
export default function EvaluatePage() {
  useTitle("Evaluate");
  const [query] = useQueryState();
  const [choice, setChoice] = useState<Choice>(() => ({
    models: [query.get("model") ?? ""],
    dataset: query.get("dataset") ?? "",
    metrics: ["perplexity"],
    settings: {},
    tasks: [],
    numFewshot: "",
    hasTemplate: true,
    maxRows: "",
    maxNewTokens: "",
  }));
  const list = useInfiniteQuery(datasetListQuery);
  const { data: options } = useQuery(evaluationOptionsQuery);
  const datasets = recordsOf(list.data).filter(({ kind }) => MEASURED_KINDS.includes(kind ?? ""));
  const kind = datasets.find(({ id, name }) => choice.dataset === id || choice.dataset === name)?.kind ?? undefined;
  const change: Change = (changes) => { setChoice((before) => ({ ...before, ...changes })); };
  const { config, isComplete } = useMemo(() => configOf(choice, kind), [choice, kind]);
  const { panel, ...problems } = useAnswer(config, isComplete, pathsOf(choice, kind));
  const hasTasks = options !== undefined && ((options.tasks?.length ?? 0) > 0 || Boolean(options.problem));
  return (
    <>
      <div className="page-head">
        <h1>Evaluate</h1>
      </div>
      <div className="new">
        <div className="new-parts">
          {/* What would be changed now is not sent, and the page is left. */}
          <fieldset disabled={panel.isBusy} className="new-form">
            <ModelPart choice={choice} change={change} problems={problems} />
            <RowsPart choice={choice} change={change} datasets={datasets} older={<OlderDatasets list={list} />} problems={problems} />
            <MetricsPart choice={choice} change={change} kind={kind} options={options} problems={problems} />
            {hasTasks && <TasksPart choice={choice} change={change} options={options} problems={problems} />}
          </fieldset>
        </div>
        <SubmitPart {...panel} />
      </div>
    </>
  );
}

interface PartProps {
  choice: Choice;
  change: Change;
  problems: Problems;
}

function ModelPart({ choice, change, problems }: PartProps) {
  const { models } = choice;
  const set = (index: number, name: string) => { change({ models: models.map((model, place) => (place === index ? name : model)) }); };
  return (
    <section className="panel part" aria-labelledby="models-title">
      <h2 id="models-title">Models</h2>
      {models.map((model, index) => (
        <Fragment key={index}>
          <label className="field">
            {index === 0 ? "Model" : `Model ${String(index + 1)}`}
            <input
              list="known-models"
              value={model}
              placeholder="job:NAME"
              spellCheck={false}
              autoComplete="off"
              maxLength={512}
              onChange={(event) => { set(index, event.target.value); }}
            />
          </label>
          <FieldProblem path={`models.${String(index)}`} problems={problems} />
        </Fragment>
      ))}
      <KnownModels id="known-models" />
      <p className="muted small">
        <code>job:NAME</code>, <code>job:NAME/step-N</code> for a checkpoint, <code>model:NAME</code>, or a model of the
        Hugging Face hub. Base models are measured first, without being named.
      </p>
      <Button disabled={models.at(-1) === ""} onClick={() => { change({ models: [...models, ""] }); }}>Add another model</Button>
    </section>
  );
}

function RowsPart({ choice, change, datasets, older, problems }: PartProps & { datasets: Dataset[]; older: ReactNode }) {
  const isKnown = datasets.some(({ id, name }) => id === choice.dataset || name === choice.dataset);
  return (
    <section className="panel part" aria-labelledby="rows-title">
      <h2 id="rows-title">Rows to measure on</h2>
      <label className="field">
        Dataset
        <select value={choice.dataset} onChange={(event) => { change({ dataset: event.target.value }); }}>
          <option value="">Choose a dataset</option>
          {choice.dataset !== "" && !isKnown && <option value={choice.dataset}>{choice.dataset}</option>}
          {datasets.map((dataset) => (
            <option key={dataset.id} value={dataset.id}>{dataset.name}, {dataset.num_rows} rows</option>
          ))}
        </select>
      </label>
      {older}
      <FieldProblem path="dataset" problems={problems} />
      <p className="muted small">Choose rows that no job was trained on. Datasets of preferences cannot be measured.</p>
      <DropZone onDone={(dataset) => { change({ dataset: dataset.id }); }} />
      <label className="field narrow">
        Number of rows, from the first
        <input inputMode="numeric" value={choice.maxRows} placeholder="all" onChange={(event) => { change({ maxRows: event.target.value }); }} />
      </label>
      <FieldProblem path="max_rows" problems={problems} />
    </section>
  );
}

interface SubmitProps {
  estimate: Schemas["JobEstimate"] | null;
  isComplete: boolean;
  isEstimating: boolean;
  isBusy: boolean;
  error: unknown;
  retry: () => void;
  submit: () => void;
}

function SubmitPart({ estimate, isComplete, isEstimating, isBusy, error, retry, submit }: SubmitProps) {
  return (
    <aside className="panel part submit" aria-label="Estimate and submission">
      <Estimate estimate={estimate} isComplete={isComplete} isEstimating={isEstimating} />
      {error !== null && <ErrorNote error={error} retry={retry} />}
      <Button look="primary" disabled={!isComplete || isBusy} onClick={submit}>
        {isBusy ? "Submitting…" : "Start the evaluation"}
      </Button>
    </aside>
  );
}

/** What the service says about the config, with its errors by the path of the field that they are about. */
function useAnswer(config: Config, isComplete: boolean, paths: string[]) {
  const settled = useSettled(config);
  const isCurrent = settled === config;
  const estimate = useQuery(estimateQuery(settled, isComplete && isCurrent));
  const [refused, setRefused] = useState<{ config: Config; error: unknown } | null>(null);
  const { isBusy, submit } = useSubmission(config, () => undefined, (error) => { setRefused({ config, error }); });
  const error = refused?.config === config ? refused.error : isComplete && isCurrent ? estimate.error : null;
  const fault = error instanceof ApiError && error.status < 500 ? settingAtFault(error.param, error.message, paths) : null;
  const byPath: Record<string, string> = error instanceof ApiError && fault !== null ? { [fault]: error.message } : {};
  return {
    byPath,
    panel: {
      estimate: isComplete && !error && estimate.data ? estimate.data : null,
      isComplete,
      isEstimating: isComplete && (!isCurrent || estimate.isFetching),
      isBusy,
      error: fault === null ? error : null,
      retry: () => void estimate.refetch(),
      submit: () => void submit(),
    },
  };
}
