import { draftOf } from "../../config/draft";
import type { UploadPhase } from "../../upload/useUpload";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

interface Props {
  control: DraftControl;
  problems: Problems;
  upload: UploadPhase | null;
}

/** The whole config as text. What is changed here is changed in the form. */
export function YamlView({ control, problems, upload }: Props) {
  const { draft } = control;
  const numLines = draft.text.split("\n").length;
  return (
    <section className="panel part" aria-labelledby="yaml-title">
      <h2 id="yaml-title">Config as YAML</h2>
      <p className="muted small">
        The same document that <code>ftlab submit</code> takes. Changes here are changes of the form.
      </p>
      {upload && <UploadNote upload={upload} />}
      <textarea
        className="yaml mono"
        aria-labelledby="yaml-title"
        aria-invalid={draft.problem !== null ? true : undefined}
        aria-describedby={draft.problem !== null ? "yaml-problem" : undefined}
        spellCheck={false}
        autoCapitalize="off"
        rows={Math.max(16, numLines + 2)}
        placeholder={"model: HuggingFaceTB/SmolLM2-135M-Instruct\ndataset: support-train.jsonl\ntraining:\n  num_train_epochs: 1"}
        value={draft.text}
        onChange={(event) => { control.set(draftOf(event.target.value, draft.config)); }}
      />
      {draft.problem !== null && <p id="yaml-problem" className="field-problem" role="alert">{draft.problem}</p>}
      {Object.entries(problems.byPath).map(([path, problem]) => (
        <p key={path} className="field-problem" role="alert">
          <code>{path}</code>: {problem}
        </p>
      ))}
    </section>
  );
}

function UploadNote({ upload: { name, isStuck } }: { upload: UploadPhase }) {
  if (isStuck) return <p className="note note-bad" role="alert">{name} could not be used. The form says why.</p>;
  return <p className="note" role="status">{name} is being uploaded; then its dataset is added to the config.</p>;
}
