import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, type Schemas } from "../../api/client";
import { estimateQuery } from "../../api/newJob";
import { useSettled } from "../../app/useSettled";
import { methodOf, valueAt, type Config, type Draft } from "../../config/draft";
import type { JobSchema } from "../../config/schema";
import { problemOf, settingAtFault, settingsInside } from "../../config/values";

export interface Problems {
  /** What is wrong, by the path of the setting. */
  byPath: Record<string, string>;
  /** An error of the service that no setting is to blame for. */
  other: unknown;
  /** Of the config before, while `isEstimating`. */
  estimate: Schemas["JobEstimate"] | null;
  isComplete: boolean;
  isEstimating: boolean;
  retry: () => void;
  /** Shows the error of a submission at its setting. */
  refuse: (error: unknown) => void;
}

/** What the schema and the service say about the draft. The estimate refuses what a submission refuses. */
export function useProblems(schema: JobSchema, draft: Draft): Problems {
  const { config } = draft;
  const settings = schema
    .settings(methodOf(config, schema.methods[0]?.type ?? ""))
    .flatMap((setting) => [setting, ...settingsInside(setting, valueAt(config, setting.path))]);
  const paths = settings.map(({ path }) => path);
  const byPath: Record<string, string> = {};
  for (const setting of settings) {
    const problem = problemOf(setting, valueAt(config, setting.path));
    if (problem) byPath[setting.path] = problem;
  }
  const isComplete = isGiven(config, "model") && isGiven(config, "dataset") && draft.problem === null;
  const canAsk = isComplete && Object.keys(byPath).length === 0;
  const settled = useSettled(config);
  const isCurrent = settled === config;
  const estimate = useQuery(estimateQuery(settled, canAsk && isCurrent));
  const [refused, setRefused] = useState<{ config: Config; error: unknown } | null>(null);

  const error = refused?.config === config ? refused.error : isCurrent && canAsk ? estimate.error : null;
  const fault = error instanceof ApiError && error.status < 500 ? settingAtFault(error.param, error.message, paths) : null;
  if (error instanceof ApiError && fault !== null) byPath[fault] = error.message;
  return {
    byPath,
    other: fault === null ? error : null,
    estimate: canAsk && estimate.data ? estimate.data : null,
    isComplete,
    isEstimating: canAsk && (!isCurrent || estimate.isFetching),
    retry: () => void estimate.refetch(),
    refuse: (failure) => { setRefused({ config, error: failure }); },
  };
}

function isGiven(config: Config, name: string): boolean {
  const value = config[name];
  return (typeof value === "string" && value !== "") || (Array.isArray(value) && value.length > 0);
}
