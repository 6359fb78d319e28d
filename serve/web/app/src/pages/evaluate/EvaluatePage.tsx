import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { datasetListQuery, type Dataset } from "../../api/datasets";
import { estimateQuery } from "../../api/newJob";
import { useSettled } from "../../app/useSettled";
import { useTitle } from "../../app/useTitle";
import type { Config } from "../../config/draft";
import { KnownModels } from "../../data/KnownModels";
import { useQueryState } from "../../router/router";
import { Button } from "../../ui/Button";
import { ErrorNote } from "../../ui/Notes";
import { DropZone } from "../../upload/DropZone";
import { Estimate } from "../new/Estimate";
import { useSubmission } from "../new/useSubmission";
import { configOf, MEASURED_KINDS, METRICS, type Choice } from "./choice";
import "../records.css";
import "../new/new.css";

type Change = (changes: Partial<Choice>) => void;

/** Measures a model and its base model on rows of the user. */
export default function EvaluatePage() {
  useTitle("Evaluate");
  const [query] = useQueryState();
  const [choice, setChoice] = useState<Choice>(() => ({
    models: [query.get("model") ?? ""],
    dataset: query.get("dataset") ?? "",
    metrics: ["perplexity"],
    maxRows: "",
    maxNewTokens: "",
  }));
  const list = useInfiniteQuery(datasetListQuery);
  const datasets = (list.data?.pages.flatMap((page) => page.data) ?? []).filter(({ kind }) => MEASURED_KINDS.includes(kind ?? ""));
  const kind = datasets.find(({ id, name }) => choice.dataset === id || choice.dataset === name)?.kind ?? undefined;
  const change: Change = (changes) => { setChoice((before) => ({ ...before, ...changes })); };
  const { config, isComplete } = useMemo(() => configOf(choice, kind), [choice, kind]);
  return (
    <>
      <div className="page-head">
        <h1>Evaluate</h1>
      </div>
      <div className="new">
        <div className="new-parts new-form">
          <ModelPart choice={choice} change={change} />
          <RowsPart choice={choice} change={change} datasets={datasets} />
          <MetricsPart choice={choice} change={change} kind={kind} />
        </div>
        <SubmitPart config={config} isComplete={isComplete} />
      </div>
    </>
  );
}

function ModelPart({ choice, change }: { choice: Choice; change: Change }) {
  const { models } = choice;
  const set = (index: number, name: string) => { change({ models: models.map((model, place) => (place === index ? name : model)) }); };
  return (
    <section className="panel part" aria-labelledby="models-title">
      <h2 id="models-title">Models</h2>
      {models.map((model, index) => (
        <label className="field" key={index}>
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

function RowsPart({ choice, change, datasets }: { choice: Choice; change: Change; datasets: Dataset[] }) {
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
      <p className="muted small">Choose rows that no job was trained on. Datasets of preferences cannot be measured.</p>
      <DropZone onDone={(dataset) => { change({ dataset: dataset.id }); }} />
      <label className="field narrow">
        Number of rows, from the first
        <input inputMode="numeric" value={choice.maxRows} placeholder="all" onChange={(event) => { change({ maxRows: event.target.value }); }} />
      </label>
    </section>
  );
}

function MetricsPart({ choice, change, kind }: { choice: Choice; change: Change; kind: string | undefined }) {
  const toggle = (type: string) => {
    const { metrics } = choice;
    change({ metrics: metrics.includes(type) ? metrics.filter((each) => each !== type) : [...metrics, type] });
  };
  return (
    <section className="panel part" aria-labelledby="metrics-title">
      <h2 id="metrics-title">Metrics</h2>
      <fieldset className="evaluation">
        <legend>Measure</legend>
        {METRICS.map(({ type, label, kinds }) => {
          const isFitting = kind === undefined || kinds.includes(kind);
          return (
            <label key={type} className="check">
              <input
                type="checkbox"
                checked={isFitting && choice.metrics.includes(type)}
                disabled={!isFitting}
                onChange={() => { toggle(type); }}
              />
              {label}
            </label>
          );
        })}
      </fieldset>
      <label className="field narrow">
        Most tokens of an answer
        <input
          inputMode="numeric"
          value={choice.maxNewTokens}
          placeholder="256"
          onChange={(event) => { change({ maxNewTokens: event.target.value }); }}
        />
      </label>
      <p className="muted small">
        Judges, regular expressions, schemas and Python files have settings of their own: use <code>ftlab eval</code> for them.
      </p>
    </section>
  );
}

function SubmitPart({ config, isComplete }: { config: Config; isComplete: boolean }) {
  const settled = useSettled(config);
  const isCurrent = settled === config;
  const estimate = useQuery(estimateQuery(settled, isComplete && isCurrent));
  const [refused, setRefused] = useState<{ config: Config; error: unknown } | null>(null);
  const { isBusy, submit } = useSubmission(config, () => undefined, (error) => { setRefused({ config, error }); });
  const error = refused?.config === config ? refused.error : isComplete && isCurrent ? estimate.error : null;
  return (
    <aside className="panel part submit" aria-label="Estimate and submission">
      <Estimate
        estimate={isComplete && !error && estimate.data ? estimate.data : null}
        isComplete={isComplete}
        isEstimating={isComplete && (!isCurrent || estimate.isFetching)}
      />
      {error !== null && <ErrorNote error={error} retry={() => void estimate.refetch()} />}
      <Button look="primary" disabled={!isComplete || isBusy} onClick={() => void submit()}>
        {isBusy ? "Submitting…" : "Start the evaluation"}
      </Button>
    </aside>
  );
}
