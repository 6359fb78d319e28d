import { useCallback, useEffect, useRef, useState } from "react";
import { getTemplate } from "../../api/templates";
import { draftOf, EMPTY, withSettings, withTemplate, settled, type Change, type Draft, type DraftState } from "../../config/draft";
import { useQueryState } from "../../router/router";

const KEPT = "ftlab:new-job";
/** Settings that a link to this page may have. */
const LINKED = ["dataset", "model"];

export interface DraftControl {
  draft: Draft;
  set: (draft: Draft) => void;
  /** Changes the draft, or does it later where its text cannot be read: somebody is writing it. */
  apply: (change: Change) => void;
  change: (changes: Record<string, unknown>) => void;
  clear: () => void;
  /** Fetches a template and takes its settings; what is set meanwhile stays. */
  take: (template: string) => Promise<void>;
  /** Why a template in the address could not be used. */
  error: unknown;
}

/** The config in the making. It outlives a reload of the page, until it is submitted or the tab is closed. */
export function useDraft(): DraftControl {
  const [query, setQuery] = useQueryState();
  const [state, setState] = useState<DraftState>(() => ({ draft: draftOf(sessionStorage.getItem(KEPT) ?? ""), waiting: [] }));
  const { draft } = state;
  const [error, setError] = useState<unknown>(null);
  useEffect(() => { sessionStorage.setItem(KEPT, draft.text); }, [draft.text]);

  const setDraft = useCallback((change: Change) => {
    setState(({ draft, waiting }) => settled({ draft: change(draft), waiting }));
  }, []);
  const apply = useCallback((change: Change) => {
    setState(({ draft, waiting }) => settled({ draft, waiting: [...waiting, change] }));
  }, []);
  const change = useCallback((changes: Record<string, unknown>) => { setDraft((before) => withSettings(before, changes)); }, [setDraft]);
  const latest = useRef(draft);
  useEffect(() => { latest.current = draft; }, [draft]);
  const asked = useRef("");
  const take = useCallback(async (template: string) => {
    asked.current = template;
    const chosenAt = latest.current;
    const { text } = await getTemplate(template);
    if (asked.current === template) setDraft((before) => withTemplate(before, text, chosenAt));
  }, [setDraft]);

  const linked = Object.fromEntries(LINKED.filter((name) => query.has(name)).map((name) => [name, query.get(name)]));
  const link = JSON.stringify([linked, query.get("template")]);
  useEffect(() => {
    const [settings, template] = JSON.parse(link) as [Record<string, unknown>, string | null];
    if (Object.keys(settings).length === 0 && template === null) return;
    const follow = async () => {
      change(settings);
      if (template !== null) await take(template);
    };
    follow().catch(setError);
    setQuery({ dataset: null, model: null, template: null });
  }, [link, setQuery, change, take]);

  return {
    draft,
    set: (draft) => { setDraft(() => draft); },
    apply,
    change,
    clear: () => {
      asked.current = "";
      // At once: after a submission, this page is gone before its effects run.
      sessionStorage.removeItem(KEPT);
      setState({ draft: EMPTY, waiting: [] });
    },
    take,
    error,
  };
}
