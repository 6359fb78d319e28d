/** Answers of the model in training to its sample prompts. */
import type { JobEvent, Schemas } from "../api/client";

type Sample = Required<Pick<Schemas["SamplePayload"], "step" | "number" | "prompt" | "text" | "is_cut">>;

export interface PromptSamples {
  number: number;
  prompt: string;
  /** Newest step first; of a step that was repeated, the newest answer. */
  answers: Sample[];
}

export function byPrompt(events: JobEvent[]): PromptSamples[] {
  const prompts = new Map<number, Map<number, Sample>>();
  for (const event of events) {
    const data = { step: 0, number: 1, prompt: "", text: "", is_cut: false, ...(event.data as Partial<Sample>) };
    const own = prompts.get(data.number) ?? new Map<number, Sample>();
    own.set(data.step, data);
    prompts.set(data.number, own);
  }
  return [...prompts]
    .sort(([a], [b]) => a - b)
    .map(([number, own]) => {
      const answers = [...own.values()].sort((a, b) => b.step - a.step);
      return { number, prompt: answers[0]?.prompt ?? "", answers };
    });
}
