import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { templateListQuery } from "../../api/templates";
import { ErrorNote } from "../../ui/Notes";
import type { DraftControl } from "./useDraft";

/** Takes the settings of a template. */
export function TemplateChoice({ control }: { control: DraftControl }) {
  const list = useQuery(templateListQuery);
  const [chosen, setChosen] = useState("");
  const [error, setError] = useState<unknown>(null);
  const use = (name: string) => {
    setChosen(name);
    setError(null);
    if (name) control.take(name).catch(setError);
  };
  const description = list.data?.find(({ name }) => name === chosen)?.description;
  return (
    <>
      <label className="field">
        Start from a template
        <select value={chosen} onChange={(event) => { use(event.target.value); }}>
          <option value="">Choose a template</option>
          {list.data?.map(({ name, owner }) => <option key={name} value={name}>{name}{owner ? " (yours)" : ""}</option>)}
        </select>
      </label>
      {description && <p className="muted small">{description}</p>}
      {error !== null && <ErrorNote error={error} />}
    </>
  );
}
