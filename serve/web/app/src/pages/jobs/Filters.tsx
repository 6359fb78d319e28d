import { useCallback, useEffect, useState } from "react";
import type { JobFilter } from "../../api/jobs";
import { STATUS_GROUPS } from "../../format/status";
import { useQueryState } from "../../router/router";
import { Icon } from "../../ui/Icon";
import { GROUP, SEARCH } from "./filter";

const TYPING_MS = 250;

/** Which jobs are listed; kept in the address, so that a list can be linked. */
export function Filters({ filter }: { filter: JobFilter }) {
  const [query, setQuery] = useQueryState();
  const shown = query.get(GROUP);
  // Kept between renderings: a new function makes the field wait again, and each step of a job renders the list.
  const search = useCallback((text: string) => { setQuery({ [SEARCH]: text }); }, [setQuery]);
  return (
    <div className="filters">
      <SearchField value={filter.search} onChange={search} />
      <div className="chips" role="group" aria-label="Status">
        {[{ name: "", label: "All" }, ...STATUS_GROUPS].map(({ name, label }) => (
          <button
            key={name}
            type="button"
            className="chip"
            aria-pressed={(shown ?? "") === name}
            onClick={() => { setQuery({ [GROUP]: name }); }}
          >
            {label}
          </button>
        ))}
      </div>
    </div>
  );
}

function SearchField({ value, onChange }: { value: string; onChange: (text: string) => void }) {
  const [text, setText] = useState(value);
  const [before, setBefore] = useState(value);
  if (value !== before) {
    // A link has changed the address: what was typed before must not come back.
    setBefore(value);
    setText((typed) => (typed.trim() === value ? typed : value));
  }
  useEffect(() => {
    if (text.trim() === value) return;
    const timer = setTimeout(() => { onChange(text.trim()); }, TYPING_MS);
    return () => { clearTimeout(timer); };
  }, [text, value, onChange]);
  return (
    <label className="search">
      <Icon name="search" />
      <span className="visually-hidden">Search jobs by name or id</span>
      <input
        id="job-search"
        type="search"
        placeholder="Search by name or id"
        maxLength={200}
        value={text}
        onChange={(event) => { setText(event.target.value); }}
      />
    </label>
  );
}
