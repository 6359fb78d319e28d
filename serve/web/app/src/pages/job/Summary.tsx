import { useQuery } from "@tanstack/react-query";
import type { Job, Schemas } from "../../api/client";
import { analyticsQuery } from "../../api/jobParts";
import { duration, percent } from "../../format/format";

type TimeUse = Schemas["TimeUse"];

const PARTS: { name: keyof TimeUse & string; label: string }[] = [
  { name: "queued_s", label: "In the queue" },
  { name: "paused_s", label: "Paused" },
  { name: "starting_s", label: "Starting" },
  { name: "data_s", label: "Waiting for rows" },
  { name: "generation_s", label: "Generating answers" },
  { name: "forward_s", label: "Forward" },
  { name: "backward_s", label: "Backward" },
  { name: "optimizer_s", label: "Optimizer" },
  { name: "evaluation_s", label: "Evaluating" },
  { name: "sampling_s", label: "Answering sample prompts" },
  { name: "saving_s", label: "Saving" },
  { name: "finishing_s", label: "Finishing" },
  { name: "lost_s", label: "Lost to crashes" },
  { name: "other_s", label: "Other" },
];

/** What the record of an ended job says: its results in sentences, and where its time went. */
export function Summary({ job }: { job: Job }) {
  const { data } = useQuery(analyticsQuery(job.id));
  if (!data) return null;
  return (
    <div className="summary">
      {(data.summary ?? []).length > 0 && (
        <section className="panel" aria-labelledby="results">
          <h3 id="results">Results</h3>
          <ul className="sentences">
            {data.summary?.map((sentence) => <li key={sentence}>{sentence}</li>)}
          </ul>
        </section>
      )}
      {data.time && <TimeTable time={data.time} />}
    </div>
  );
}

function TimeTable({ time }: { time: TimeUse }) {
  const total = time.total_s;
  const rows = PARTS.map(({ name, label }) => ({ label, seconds: Number(time[name] ?? 0) }))
    .filter(({ seconds }) => seconds >= 0.5)
    .sort((a, b) => b.seconds - a.seconds);
  if (!total || rows.length === 0) return null;
  return (
    <section className="panel" aria-labelledby="time-use">
      <h3 id="time-use">Where the time went</h3>
      <table className="shares">
        <tbody>
          {rows.map(({ label, seconds }) => (
            <tr key={label}>
              <th scope="row">{label}</th>
              <td className="share"><i style={{ width: percent(seconds / total) }} /></td>
              <td className="numeric">{duration(seconds)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
