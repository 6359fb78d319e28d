import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { jobKeys } from "../../api/jobs";
import { submitJob } from "../../api/newJob";
import { plainText } from "../../config/values";
import { navigate } from "../../router/router";
import { Button } from "../../ui/Button";
import { ErrorNote } from "../../ui/Notes";
import { Estimate } from "./Estimate";
import { FieldProblem } from "./FieldProblem";
import { SaveTemplateDialog } from "./SaveTemplateDialog";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

interface Props {
  control: DraftControl;
  problems: Problems;
  onShow: (path: string) => void;
}

/** What the job would need, and the button that submits it. */
export function SubmitPanel({ control, problems, onShow }: Props) {
  const [isSaving, setSaving] = useState(false);
  const { isBusy, submit } = useSubmission(control, problems);
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
          disabled={draft.problem !== null}
          onChange={(event) => { control.change({ name: event.target.value || undefined }); }}
        />
      </label>
      <FieldProblem path="name" problems={problems} />
      <Estimate control={control} problems={problems} />
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

/** Sends the config once: a repeated click, or a repeated request, finds the first job. */
function useSubmission(control: DraftControl, problems: Problems) {
  const client = useQueryClient();
  const [isBusy, setBusy] = useState(false);
  const sent = useRef({ config: "", key: "" });
  async function submit() {
    setBusy(true);
    const config = JSON.stringify(control.draft.config);
    if (sent.current.config !== config) sent.current = { config, key: crypto.randomUUID() };
    try {
      const job = await submitJob(control.draft.config, sent.current.key);
      await client.invalidateQueries({ queryKey: jobKeys.lists });
      control.clear();
      navigate(`/jobs/${job.id}`);
    } catch (error) {
      problems.refuse(error);
      setBusy(false);
    }
  }
  return { isBusy, submit };
}
