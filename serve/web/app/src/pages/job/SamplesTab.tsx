import { useQuery } from "@tanstack/react-query";
import { eventsQuery } from "../../api/jobParts";
import { byPrompt } from "../../jobs/samples";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import type { TabProps } from "./JobPage";

export default function SamplesTab({ job }: TabProps) {
  const { data, error, refetch } = useQuery(eventsQuery(job.id, "samples", ["sample"]));
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (!data) return <Loading lines={3} />;
  if (data.length === 0) {
    return (
      <EmptyState title="No samples">
        <p>
          List prompts in <code>training.sample_prompts</code>: the model answers them at every evaluation, and here you
          see how its answers change.
        </p>
      </EmptyState>
    );
  }
  return (
    <div className="samples">
      {byPrompt(data).map(({ number, prompt, answers }) => (
        <section key={number} className="panel" aria-label={`Prompt ${String(number)}`}>
          <h3 className="prompt">{prompt}</h3>
          <ol className="answers">
            {answers.map((answer) => (
              <li key={answer.step}>
                <span className="muted small numeric">{answer.step === 0 ? "Before training" : `Step ${String(answer.step)}`}</span>
                <p className="answer">
                  {answer.text || <span className="muted">(an empty answer)</span>}
                  {answer.is_cut && <span className="muted" title="The answer reached training.sample_max_new_tokens."> …</span>}
                </p>
              </li>
            ))}
          </ol>
        </section>
      ))}
    </div>
  );
}
