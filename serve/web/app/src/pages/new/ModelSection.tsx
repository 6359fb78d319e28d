import { useQuery } from "@tanstack/react-query";
import { modelCheckQuery, type ModelCheck } from "../../api/models";
import { useSettled } from "../../app/useSettled";
import { plainText } from "../../config/values";
import { KnownModels } from "../../data/KnownModels";
import { bytes, count } from "../../format/format";
import { ErrorNote, Loading } from "../../ui/Notes";
import { FieldProblem } from "./FieldProblem";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

/** The base model, and what it is. Models of earlier jobs and tuned models are offered. */
export function ModelSection({ control, problems }: { control: DraftControl; problems: Problems }) {
  const model = plainText(control.draft.config["model"]);
  const settled = useSettled(model.trim());
  const check = useQuery(modelCheckQuery(settled));
  const problem = problems.byPath["model"];
  return (
    <section className="panel part" aria-labelledby="model-title">
      <h2 id="model-title">Base model</h2>
      <label className="field">
        Model
        <input
          id="setting-model"
          list="known-models"
          value={model}
          placeholder="HuggingFaceTB/SmolLM2-135M-Instruct"
          spellCheck={false}
          autoComplete="off"
          maxLength={512}
          aria-invalid={problem ? true : undefined}
          aria-describedby={problem ? "problem-model" : "model-help"}
          onChange={(event) => { control.change({ model: event.target.value || undefined }); }}
        />
      </label>
      <KnownModels id="known-models" />
      <p className="muted small" id="model-help">
        A model of the Hugging Face hub, a folder, or a tuned model: <code>model:NAME</code>, <code>job:NAME</code>.
      </p>
      <FieldProblem path="model" problems={problems} />
      {settled !== "" && check.isPending && <Loading lines={1} label="Looking at the model" />}
      {check.isError && !problem && <ErrorNote error={check.error} retry={() => void check.refetch()} />}
      {check.isSuccess && settled === model.trim() && <Facts check={check.data} />}
    </section>
  );
}

function Facts({ check }: { check: ModelCheck }) {
  const facts: [string, string][] = [
    ["Architecture", check.architecture ?? ""],
    ["Parameters", check.parameters ? count(check.parameters) : ""],
    ["Size", check.size_bytes ? bytes(check.size_bytes) : ""],
    ["Context", check.max_positions ? `${count(check.max_positions)} tokens` : ""],
    ["Adapter of", check.base_model ?? ""],
    ["Chat template", check.is_checked ? (check.has_chat_template ? "yes" : "no") : ""],
    ["Licence", check.licence ?? ""],
    ["Where", check.is_local ? "on this machine" : "is downloaded first"],
  ];
  return (
    <>
      {!check.is_checked && <p className="note note-warn">The hub cannot be reached, so nothing is known about this model yet.</p>}
      <dl className="figures">
        {facts.filter(([, value]) => value).map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {check.warnings?.map((warning) => <p key={warning} className="note note-warn">{warning}</p>)}
    </>
  );
}
