import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTitle } from "../../app/useTitle";
import { schemaQuery } from "../../api/newJob";
import type { JobSchema } from "../../config/schema";
import { useQueryState } from "../../router/router";
import { Button } from "../../ui/Button";
import { ErrorNote, Loading } from "../../ui/Notes";
import type { UploadPhase } from "../../upload/useUpload";
import { CheckSection } from "./CheckSection";
import { DataSection } from "./DataSection";
import { ModelSection } from "./ModelSection";
import { NewJobViews } from "./NewJobViews";
import { SettingsSection } from "./SettingsSection";
import { SubmitPanel } from "./SubmitPanel";
import { TemplateChoice } from "./TemplateChoice";
import { useDraft, type DraftControl } from "./useDraft";
import { useProblems } from "./useProblems";
import { useSubmission } from "./useSubmission";
import { YamlView } from "./YamlView";
import "../records.css";
import "./new.css";

const VIEWS = [
  { name: "", label: "Form" },
  { name: "yaml", label: "YAML" },
];

/** From a file to a submitted job, on one page. */
export default function NewJobPage() {
  useTitle("New job");
  const schema = useQuery(schemaQuery);
  const control = useDraft();
  const [query, setQuery] = useQueryState();
  const view = query.get("view") ?? "";
  return (
    <>
      <div className="page-head">
        <h1>New job</h1>
        {control.draft.text && <Button look="ghost" onClick={control.clear}>Start over</Button>}
        <div className="chips" role="group" aria-label="View">
          {VIEWS.map(({ name, label }) => (
            <button key={name} type="button" className="chip" aria-pressed={view === name} onClick={() => { setQuery({ view: name }); }}>
              {label}
            </button>
          ))}
        </div>
      </div>
      {control.error !== null && <ErrorNote error={control.error} />}
      {schema.isError && <ErrorNote error={schema.error} retry={() => void schema.refetch()} />}
      {schema.isPending && <Loading lines={8} />}
      {schema.isSuccess && <Parts schema={schema.data} control={control} isText={view === "yaml"} />}
    </>
  );
}

function Parts({ schema, control, isText }: { schema: JobSchema; control: DraftControl; isText: boolean }) {
  const [, setQuery] = useQueryState();
  const [upload, setUpload] = useState<UploadPhase | null>(null);
  const problems = useProblems(schema, control.draft);
  // What would be changed now is not sent, and the page is left.
  const submission = useSubmission(control.draft.config, control.clear, problems.refuse);
  const show = (path: string) => {
    setQuery({ view: "" });
    // The field may have to be drawn first.
    requestAnimationFrame(() => { requestAnimationFrame(() => { focusSetting(path); }); });
  };
  const form = (
    <fieldset disabled={control.draft.problem !== null || submission.isBusy} className="new-form">
      {control.draft.problem !== null && (
        <p className="note note-bad" role="alert">
          The YAML cannot be read, so the form shows what was there before. {control.draft.problem}
        </p>
      )}
      <DataSection schema={schema} control={control} problems={problems} onUpload={setUpload} />
      <ModelSection control={control} problems={problems} />
      <CheckSection control={control} />
      <section className="panel part" aria-labelledby="settings-title">
        <h2 id="settings-title">Settings</h2>
        <TemplateChoice control={control} />
        <SettingsSection schema={schema} control={control} problems={problems} />
      </section>
    </fieldset>
  );
  const text = (
    <fieldset disabled={submission.isBusy} className="new-form">
      <YamlView control={control} problems={problems} upload={upload} />
    </fieldset>
  );
  return (
    <div className="new">
      <NewJobViews isText={isText} form={form} text={text} />
      <SubmitPanel control={control} problems={problems} submission={submission} onShow={show} />
    </div>
  );
}

function focusSetting(path: string) {
  const field = document.getElementById(`setting-${path}`);
  field?.scrollIntoView({ block: "center" });
  field?.focus({ preventScroll: true });
}
