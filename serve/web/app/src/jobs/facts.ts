/** What a job's config says, as pages show it. */
import type { Job, Schemas } from "../api/client";

type Config = Partial<Schemas["JobConfig"]>;

/** The config with every default; as submitted where this version of the service cannot read it. */
export function configOf(job: Job): Config {
  return (job.resolved_config ?? job.config) as Config;
}

/** The base model, or the last of several models, without its organisation or folders; that of a job by its name. */
export function modelOf(job: Job): string {
  const { models } = configOf(job) as { models?: string[] };
  const model = configOf(job).model ?? models?.at(-1) ?? "";
  const parent = job.parents?.find(({ job_id }) => model === `job:${job_id}`);
  if (parent) return `the model of ${parent.name}`;
  return model.split("/").findLast((part) => part !== "") ?? model;
}

/** Whether a job trains a model; others measure, export or serve one. */
export const isTraining = (job: Job): boolean => job.kind === undefined || job.kind === "training";

/** Method and tuning: `SFT, LoRA`; of a job that does not train, its kind. */
export function methodOf(job: Job): string {
  if (!isTraining(job)) return job.kind ?? "";
  const config = configOf(job);
  const method = config.method as { type?: string } | undefined;
  const tuning = TUNINGS[String(config.tuning)] ?? String(config.tuning ?? "");
  return [method?.type?.toUpperCase(), tuning].filter(Boolean).join(", ");
}

const TUNINGS: Record<string, string> = { lora: "LoRA", qlora: "QLoRA", full: "full" };

export function datasetsOf(job: Job): string[] {
  const { dataset } = configOf(job);
  return dataset === undefined ? [] : Array.isArray(dataset) ? dataset : [dataset];
}
