import { useInfiniteQuery } from "@tanstack/react-query";
import { jobListQuery } from "../api/jobs";
import { modelListQuery } from "../api/models";
import { recordsOf } from "../api/pages";
import { configOf } from "../jobs/facts";

/** Suggestions for the field of a model: base models of earlier jobs, and models that were tuned here. */
export function KnownModels({ id }: { id: string }) {
  const tuned = useInfiniteQuery(modelListQuery);
  const jobs = useInfiniteQuery(jobListQuery({ statuses: [], search: "" }));
  const bases = recordsOf(jobs.data).map((job) => configOf(job).model ?? "");
  return (
    <datalist id={id}>
      {[...new Set(bases.filter(Boolean))].map((name) => <option key={name} value={name}>used before</option>)}
      {recordsOf(tuned.data).map((model) => (
        <option key={model.id} value={`model:${model.id}`}>{model.name}, tuned here</option>
      ))}
    </datalist>
  );
}
