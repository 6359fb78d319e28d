import { useQueries } from "@tanstack/react-query";
import type { Job } from "../../api/client";
import { eventsQuery } from "../../api/jobParts";
import { byPrompt, type PromptSamples } from "../../jobs/samples";
import { EmptyState, Loading } from "../../ui/Notes";
import { labelsOf } from "./labels";
import { Swatch } from "./RunList";

/** The newest answers of the jobs to the same prompts, side by side. */
export function ComparedSamples({ jobs }: { jobs: Job[] }) {
  const found = useQueries({ queries: jobs.map((job) => eventsQuery(job.id, "samples", ["sample"])) });
  if (found.some(({ isPending }) => isPending)) return <Loading lines={3} />;
  const samples = found.map(({ data }) => byPrompt(data ?? []));
  const prompts = [...new Set(samples.flatMap((own) => own.map(({ prompt }) => prompt)))];
  if (prompts.length === 0) {
    return (
      <EmptyState title="None of these jobs has samples">
        <p>
          List the same prompts in <code>training.sample_prompts</code> of several jobs to compare their answers here.
        </p>
      </EmptyState>
    );
  }
  return (
    <div className="samples">
      {prompts.map((prompt) => (
        <section key={prompt} className="panel" aria-label={prompt}>
          <h3 className="prompt">{prompt}</h3>
          <div className="side-by-side">
            {labelsOf(jobs).map((label, index) => (
              <Answer key={label} label={label} index={index} samples={samples[index]?.find((own) => own.prompt === prompt)} />
            ))}
          </div>
        </section>
      ))}
    </div>
  );
}

function Answer({ label, index, samples }: { label: string; index: number; samples: PromptSamples | undefined }) {
  const newest = samples?.answers[0];
  return (
    <div>
      <p className="small muted">
        <Swatch index={index} /> {label}
        {newest && `, step ${String(newest.step)}`}
      </p>
      <p className="answer">{newest ? newest.text : <span className="muted">Was not asked this.</span>}</p>
    </div>
  );
}
