import { useState } from "react";
import { plainText } from "../../config/values";
import { Button } from "../../ui/Button";
import { ErrorNote } from "../../ui/Notes";
import { Estimate } from "./Estimate";
import { FieldProblem } from "./FieldProblem";
import { SaveTemplateDialog } from "./SaveTemplateDialog";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";
import type { Submission } from "./useSubmission";

interface Props {
  control: DraftControl;
  problems: Problems;
  submission: Submission;
  onShow: (path: string) => void;
}

/** What the job would need, and the button that submits it. */
export function SubmitPanel({ control, problems, submission, onShow }: Props) {
  const [isSaving, setSaving] = useState(false);
  const { isBusy, submit } = submission;
  const wrong = Object.keys(problems.byPath);
  const { draft } = control;
  return (
    <aside className="panel part submit" aria-label="Estimate and submission">
      <label className="field">
        Name
        <input
          id="setting-name"
          value={plainText(draft.config["name"])}
          placeholder="The model and the dataset"
          maxLength={200}
          disabled={draft.problem !== null || isBusy}
          onChange={(event) => { control.change({ name: event.target.value || undefined }); }}
        />
      </label>
      <FieldProblem path="name" problems={problems} />
      <Estimate
        estimate={problems.estimate}
        isComplete={problems.isComplete}
        isEstimating={problems.isEstimating}
        onUse={control.change}
      />
      {problems.other !== null && <ErrorNote error={problems.other} retry={problems.retry} />}
      {wrong.length > 0 && (
        <ul className="wrong">
          {wrong.map((path) => (
            <li key={path}>
              <button type="button" className="text-button" onClick={() => { onShow(path); }}>
                Mend <code>{path}</code>
              </button>
            </li>
          ))}
        </ul>
      )}
      <Button look="primary" disabled={!problems.isComplete || wrong.length > 0 || isBusy} onClick={() => void submit()}>
        {isBusy ? "Submitting…" : "Submit the job"}
      </Button>
      <Button disabled={draft.problem !== null || draft.text === ""} onClick={() => { setSaving(true); }}>Save as a template…</Button>
      {isSaving && <SaveTemplateDialog draft={draft} onClose={() => { setSaving(false); }} />}
    </aside>
  );
}
