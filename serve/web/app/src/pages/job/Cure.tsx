import { useQuery } from "@tanstack/react-query";
import type { Job, Schemas } from "../../api/client";
import { failureQuery } from "../../api/jobParts";
import { textOf } from "../../jobs/resumeBody";
import { ResumeButton } from "../../jobs/ResumeButton";

/** Why a job failed, what that was concluded from, and how it can continue. */
export function Cure({ job }: { job: Job }) {
  const { data: analysis } = useQuery(failureQuery(job.id));
  return (
    <section className="cure" aria-labelledby="cure-title">
      <h2 id="cure-title">Why it failed</h2>
      <p>{analysis?.sentence ?? job.message}</p>
      {analysis && (
        <>
          <p className="small muted">
            Cause: {analysis.cause.replaceAll("_", " ")} ({analysis.confidence})
            {analysis.phase && `, while ${analysis.phase}`}, attempt {analysis.attempt}
          </p>
          <Evidence lines={analysis.evidence ?? []} />
          <Advice analysis={analysis} />
        </>
      )}
      <div className="actions">
        <ResumeButton job={job} label={analysis?.suggestions?.length ? "Adjust and resume" : "Resume"} />
      </div>
    </section>
  );
}

function Evidence({ lines }: { lines: string[] }) {
  if (lines.length === 0) return null;
  return (
    <details className="evidence" open={lines.length < 4}>
      <summary>Evidence</summary>
      <ul>
        {lines.map((line, index) => (
          <li key={index}><code>{line}</code></li>
        ))}
      </ul>
    </details>
  );
}

function Advice({ analysis }: { analysis: Schemas["FailureAnalysis"] }) {
  const suggestions = analysis.suggestions ?? [];
  if (suggestions.length === 0 && !analysis.resume_from) return null;
  return (
    <ul className="advice">
      {suggestions.map((suggestion, index) => (
        <li key={index}>
          {suggestion.changes.map((change) => (
            <code key={change.field} className="change">
              {change.field}: {textOf(change.from)} → {textOf(change.to)}
            </code>
          ))}
          <span className="small">{suggestion.reason}</span>
        </li>
      ))}
      {analysis.resume_from && (
        <li>
          <span className="small">
            Continue from step {analysis.resume_from.step}. {analysis.resume_from.reason}
          </span>
        </li>
      )}
    </ul>
  );
}
