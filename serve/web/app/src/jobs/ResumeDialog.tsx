import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, type Job, type Schemas } from "../api/client";
import { checkpointsQuery, failureQuery } from "../api/jobParts";
import { resumeJob } from "../api/jobs";
import { number } from "../format/format";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { ErrorNote, Loading } from "../ui/Notes";
import { useChange } from "./useChange";
import { resumeBody, settingsOf, type ResumeMode, type Setting } from "./resumeBody";
import { SettingsForm } from "./SettingsForm";

interface Props {
  job: Job;
  checkpoint: string | undefined;
  onClose: () => void;
}

/** Where a job continues, and with which settings. Waits for the analysis, which fills the form in. */
export default function ResumeDialog(props: Props) {
  const hasFailed = props.job.status === "failed";
  const failure = useQuery({ ...failureQuery(props.job.id), enabled: hasFailed });
  const checkpoints = useQuery(checkpointsQuery(props.job.id));
  if (checkpoints.isPending || (hasFailed && failure.isPending)) {
    return (
      <Dialog title={`Resume ${props.job.name}`} onClose={props.onClose}>
        <Loading lines={3} />
      </Dialog>
    );
  }
  return <ResumeForm {...props} analysis={failure.data} checkpoints={checkpoints.data ?? []} />;
}

interface FormProps extends Props {
  analysis: Schemas["FailureAnalysis"] | undefined;
  checkpoints: Schemas["Checkpoint"][];
}

function ResumeForm({ job, checkpoint, onClose, analysis, checkpoints }: FormProps) {
  const suggestions = analysis?.suggestions ?? [];
  const [mode, setMode] = useState<ResumeMode>(suggestions.length ? "adjusted" : "same");
  const [settings, setSettings] = useState<Setting[]>(() => settingsOf(suggestions[0]));
  const [place, setPlace] = useState(checkpoint ?? analysis?.resume_from?.name ?? "");
  const change = useChange(job);
  const resuming = useMutation({
    mutationFn: () => change((id) => resumeJob(id, resumeBody(mode, settings, suggestions[0], place))),
  });
  const footer = (
    <>
      <Button onClick={onClose}>Not now</Button>
      <Button look="primary" disabled={resuming.isPending} onClick={() => { resuming.mutate(undefined, { onSuccess: onClose }); }}>Resume the job</Button>
    </>
  );
  const param = resuming.error instanceof ApiError ? resuming.error.param : null;
  return (
    <Dialog title={`Resume ${job.name}`} onClose={onClose} footer={footer} wide>
      <Modes job={job} mode={mode} onMode={setMode} hasSuggestions={suggestions.length > 0} />
      {mode === "adjusted" && (
        <SettingsForm settings={settings} onChange={setSettings} suggestions={suggestions} wrong={param} />
      )}
      <PlaceField value={place} onChange={setPlace} checkpoints={checkpoints} analysis={analysis} />
      {resuming.error && <ErrorNote error={resuming.error} />}
    </Dialog>
  );
}

interface ModesProps {
  job: Job;
  mode: ResumeMode;
  onMode: (mode: ResumeMode) => void;
  hasSuggestions: boolean;
}

function Modes({ job, mode, onMode, hasSuggestions }: ModesProps) {
  const wasAdjusted = (job.adjustments ?? []).length > 0;
  const modes: { name: ResumeMode; label: string; help: string }[] = [
    {
      name: "adjusted",
      label: "Adjust the config",
      help: hasSuggestions ? "The suggestions are filled in; each of them can be changed." : "Name the settings to change.",
    },
    { name: "same", label: wasAdjusted ? "Use the config of the last attempt" : "Use the original config", help: "Nothing changes." },
  ];
  if (wasAdjusted) {
    modes.push({ name: "original", label: "Use the original config", help: "All changes since the submission are undone." });
  }
  return (
    <fieldset className="choices">
      <legend className="visually-hidden">Settings</legend>
      {modes.map(({ name, label, help }) => (
        <label key={name} className="choice">
          <input type="radio" name="mode" checked={mode === name} onChange={() => { onMode(name); }} />
          <span>
            <b>{label}</b>
            <span className="muted small">{help}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

interface PlaceProps {
  value: string;
  onChange: (name: string) => void;
  checkpoints: Schemas["Checkpoint"][];
  analysis: Schemas["FailureAnalysis"] | undefined;
}

function PlaceField({ value, onChange, checkpoints, analysis }: PlaceProps) {
  if (checkpoints.length === 0) {
    return <p className="muted">The job has no checkpoint: it starts from its base model.</p>;
  }
  const advised = analysis?.resume_from;
  const hint = advised && value === advised.name ? advised.reason : value ? "Newer checkpoints are discarded." : "";
  return (
    <label className="field">
      Continue from
      <select value={value} onChange={(event) => { onChange(event.target.value); }}>
        <option value="">The newest intact checkpoint</option>
        {checkpoints.map((checkpoint) => (
          <option key={checkpoint.name} value={checkpoint.name}>
            {[
              `Step ${String(checkpoint.step)}`,
              lossOf(checkpoint),
              checkpoint.is_best ? "best" : "",
              checkpoint.name === advised?.name ? "recommended" : "",
            ]
              .filter(Boolean)
              .join(", ")}
          </option>
        ))}
      </select>
      {hint && <span className="muted small">{hint}</span>}
    </label>
  );
}

function lossOf(checkpoint: Schemas["Checkpoint"]): string {
  const loss = checkpoint.metrics?.["eval_loss"];
  return loss === undefined ? "" : `eval loss ${number(loss)}`;
}
