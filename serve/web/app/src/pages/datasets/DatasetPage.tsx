import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { datasetQuery, type Dataset } from "../../api/datasets";
import { useSettled } from "../../app/useSettled";
import { useTitle } from "../../app/useTitle";
import { CheckPanel } from "../../data/CheckPanel";
import { KnownModels } from "../../data/KnownModels";
import { Preview } from "../../data/Preview";
import { remarksOf, summaryOf } from "../../data/shape";
import { TokenPanel } from "../../data/TokenPanel";
import { dateTime } from "../../format/format";
import { Link } from "../../router/Link";
import { navigateFrom, usePath, useQueryState } from "../../router/router";
import type { PageProps } from "../../router/pages";
import { ErrorNote, Loading } from "../../ui/Notes";
import { DatasetMenu } from "./DatasetMenu";
import "../records.css";

/** One dataset: its rows, and how a model reads them. */
export default function DatasetPage({ params }: PageProps) {
  const dataset = useQuery(datasetQuery(params["id"] ?? ""));
  useTitle(dataset.data?.name ?? "Dataset");
  if (dataset.isError) return <ErrorNote error={dataset.error} retry={() => void dataset.refetch()} />;
  if (!dataset.isSuccess) return <Loading lines={8} />;
  return <Shown dataset={dataset.data} />;
}

function Shown({ dataset }: { dataset: Dataset }) {
  const path = usePath();
  return (
    <>
      <div className="page-head">
        <div className="page-title">
          <h1>{dataset.name}</h1>
          <p className="muted">{summaryOf(dataset)}; uploaded {dateTime(dataset.created_at)}</p>
        </div>
        <Link to={`/new?dataset=${dataset.id}`} className="button button-primary">Train on it</Link>
        <DatasetMenu dataset={dataset} onDeleted={() => { navigateFrom(path, "/datasets"); }} />
      </div>
      <div className="parts">
        {remarksOf(dataset).map((remark) => <p key={remark} className="note note-warn">{remark}</p>)}
        {dataset.problems?.map((problem) => <p key={problem} className="note note-bad">{problem}</p>)}
        <section className="panel part" aria-labelledby="rows-title">
          <h2 id="rows-title">First rows</h2>
          <Preview id={dataset.id} rows={5} />
        </section>
        <CheckPart dataset={dataset} />
      </div>
    </>
  );
}

/** The doctor's report and the tokens, for a model that is kept in the address. */
function CheckPart({ dataset }: { dataset: Dataset }) {
  const [query, setQuery] = useQueryState();
  const [row, setRow] = useState(1);
  const model = query.get("model") ?? "";
  const settled = useSettled(model.trim());
  const reading = { model: settled };
  return (
    <section className="panel part" aria-labelledby="check-title">
      <h2 id="check-title">Check of the rows</h2>
      <label className="field">
        Model that reads them
        <input
          list="known-models"
          value={model}
          spellCheck={false}
          autoComplete="off"
          maxLength={512}
          placeholder="HuggingFaceTB/SmolLM2-135M-Instruct"
          onChange={(event) => { setQuery({ model: event.target.value }); }}
        />
      </label>
      <KnownModels id="known-models" />
      {settled === "" ? (
        <p className="muted">Name a model to see what is wrong with the rows, and which of their tokens are trained.</p>
      ) : (
        <>
          <CheckPanel id={dataset.id} reading={reading} onRow={setRow} />
          <h3>Tokens of a row</h3>
          <TokenPanel id={dataset.id} reading={reading} numRows={dataset.num_rows} row={row} onRow={setRow} />
        </>
      )}
    </section>
  );
}
