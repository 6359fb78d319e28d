import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { jobKeys } from "../../api/jobs";
import { submitJob } from "../../api/newJob";
import type { Config } from "../../config/draft";
import { navigateFrom } from "../../router/router";

export interface Submission {
  isBusy: boolean;
  submit: () => Promise<void>;
}

/** Sends the config once, and goes to the job: a repeated click, or a repeated request, finds the first job. */
export function useSubmission(config: Config, onSent: () => void, onRefused: (error: unknown) => void): Submission {
  const client = useQueryClient();
  const [isBusy, setBusy] = useState(false);
  const sent = useRef({ config: "", key: "" });
  async function submit() {
    const from = window.location.pathname;
    setBusy(true);
    const text = JSON.stringify(config);
    if (sent.current.config !== text) sent.current = { config: text, key: crypto.randomUUID() };
    try {
      const job = await submitJob(config, sent.current.key);
      await client.invalidateQueries({ queryKey: jobKeys.lists });
      onSent();
      navigateFrom(from, `/jobs/${job.id}`);
    } catch (error) {
      onRefused(error);
      setBusy(false);
    }
  }
  return { isBusy, submit };
}
