import { useEffect, useState } from "react";
import { getTemplate } from "../../api/templates";
import { draftOf, EMPTY, withSettings, withTemplate, type Draft } from "../../config/draft";
import { useQueryState } from "../../router/router";

const KEPT = "ftlab:new-job";
/** Settings that a link to this page may have. */
const LINKED = ["dataset", "model"];

export interface DraftControl {
  draft: Draft;
  set: (draft: Draft) => void;
  change: (changes: Record<string, unknown>) => void;
  clear: () => void;
  /** Why a template in the address could not be used. */
  error: unknown;
}

/** The config in the making. It outlives a reload of the page, until it is submitted or the tab is closed. */
export function useDraft(): DraftControl {
  const [query, setQuery] = useQueryState();
  const [draft, setDraft] = useState<Draft>(() => draftOf(sessionStorage.getItem(KEPT) ?? ""));
  const [error, setError] = useState<unknown>(null);
  useEffect(() => { sessionStorage.setItem(KEPT, draft.text); }, [draft.text]);

  const linked = LINKED.filter((name) => query.has(name)).map((name) => [name, query.get(name)]);
  const template = query.get("template");
  const asked = JSON.stringify([linked, template]);
  useEffect(() => {
    const [settings, name] = JSON.parse(asked) as [[string, string][], string | null];
    if (settings.length === 0 && name === null) return;
    const take = (text?: string) => {
      setDraft((before) => withSettings(text === undefined ? before : withTemplate(before, text), Object.fromEntries(settings)));
      setQuery({ dataset: null, model: null, template: null });
    };
    if (name === null) take();
    else getTemplate(name).then(({ text }) => { take(text); }, setError);
  }, [asked, setQuery]);

  return {
    draft,
    set: setDraft,
    change: (changes) => { setDraft((before) => withSettings(before, changes)); },
    clear: () => {
      // At once: after a submission, this page is gone before its effects run.
      sessionStorage.removeItem(KEPT);
      setDraft(EMPTY);
    },
    error,
  };
}
