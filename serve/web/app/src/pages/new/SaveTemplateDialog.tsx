import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { saveTemplate, templateKeys } from "../../api/templates";
import { withSettings, type Draft } from "../../config/draft";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ErrorNote } from "../../ui/Notes";

/** Keeps the settings under a name, without what belongs to one job. */
export function SaveTemplateDialog({ draft, onClose }: { draft: Draft; onClose: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const saving = useMutation({
    mutationFn: () => saveTemplate(name.trim(), templateText(draft, description)),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: templateKeys.list });
      await client.invalidateQueries({ queryKey: templateKeys.one(name.trim()) });
    },
  });
  const footer = (
    <>
      <Button onClick={onClose}>Cancel</Button>
      <Button look="primary" disabled={name.trim() === "" || saving.isPending} onClick={() => { saving.mutate(undefined, { onSuccess: onClose }); }}>Save the template</Button>
    </>
  );
  return (
    <Dialog title="Save as a template" onClose={onClose} footer={footer}>
      <label className="field">
        Name
        <input autoFocus aria-describedby="template-name-help" value={name} maxLength={64} spellCheck={false} onChange={(event) => { setName(event.target.value); }} />
      </label>
      <p id="template-name-help" className="muted small">
        Lowercase letters, digits, dots and dashes. A template of yours with this name is replaced.
      </p>
      <label className="field">
        What it is for
        <input value={description} maxLength={200} onChange={(event) => { setDescription(event.target.value); }} />
      </label>
      <p className="muted small">The name of the job, the model and the datasets are left out.</p>
      {saving.error && <ErrorNote error={saving.error} />}
    </Dialog>
  );
}

/** The settings without those of one job; the description becomes the first comment. */
export function templateText(draft: Draft, description: string): string {
  const rest = withSettings(draft, { name: undefined, model: undefined, dataset: undefined, dataset_weights: undefined, eval_dataset: undefined });
  const comment = description.trim() ? `# ${description.trim()}\n` : "";
  return `${comment}${rest.text}`;
}
