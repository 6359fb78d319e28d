import { useState } from "react";
import type { Dataset } from "../../api/datasets";
import { datasetsOf } from "../../config/datasets";
import { numberOf, plainText } from "../../config/values";
import { FieldProblem } from "./FieldProblem";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

const SUGGESTED_SHARE = 0.1;

interface Props {
  control: DraftControl;
  problems: Problems;
  datasets: Dataset[];
}

/** Whether the model is measured on rows that it does not train on, and on which. */
export function EvaluationChoice({ control, problems, datasets }: Props) {
  const { config } = control.draft;
  const [typed, setTyped] = useState<string | null>(null);
  const trained = datasetsOf(config);
  const others = datasets.filter(({ id, name }) => !trained.includes(id) && !trained.includes(name));
  const share = config["eval_split"];
  const other = config["eval_dataset"];
  const way = other !== undefined && other !== null ? "other" : share !== undefined && share !== null ? "share" : "none";
  const choose = (next: string) => {
    control.change({
      eval_split: next === "share" ? SUGGESTED_SHARE : undefined,
      eval_dataset: next === "other" ? (others[0]?.id ?? "") : undefined,
    });
  };
  return (
    <fieldset className="toolbar evaluation">
      <legend>Evaluate on</legend>
      {[
        ["none", "nothing"],
        ["share", "a share of these rows"],
        ["other", "another dataset"],
      ].map(([name, label]) => (
        <label key={name} className="check">
          <input type="radio" name="evaluation" checked={way === name} disabled={name === "other" && others.length === 0 && way !== "other"} onChange={() => { choose(name ?? ""); }} />
          {label}
        </label>
      ))}
      {way === "share" && (
        <label className="field narrow">
          <span className="visually-hidden">Share of the rows, above 0 and below 1</span>
          <input
            id="setting-eval_split"
            inputMode="decimal"
            value={typed ?? plainText(share)}
            onBlur={() => { setTyped(null); }}
            onChange={(event) => {
              setTyped(event.target.value);
              control.change({ eval_split: numberOf(event.target.value) });
            }}
          />
        </label>
      )}
      {way === "other" && (
        <label className="field">
          <span className="visually-hidden">Dataset to evaluate on</span>
          <select id="setting-eval_dataset" value={plainText(other)} onChange={(event) => { control.change({ eval_dataset: event.target.value }); }}>
            {!datasets.some(({ id }) => id === other) && <option value={plainText(other)}>{plainText(other)}</option>}
            {datasets.map((dataset) => <option key={dataset.id} value={dataset.id}>{dataset.name}, {dataset.num_rows} rows</option>)}
          </select>
        </label>
      )}
      <FieldProblem path="eval_split" problems={problems} />
      <FieldProblem path="eval_dataset" problems={problems} />
    </fieldset>
  );
}
