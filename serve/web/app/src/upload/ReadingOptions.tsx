import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { schemaQuery } from "../api/newJob";
import { Button, IconButton } from "../ui/Button";
import { ErrorNote } from "../ui/Notes";
import type { UploadOptions } from "./upload";

interface Props {
  file: File;
  columns: string[];
  error: unknown;
  onRead: (options: UploadOptions) => void;
  onCancel: () => void;
}

interface Mapped {
  field: string;
  column: string;
}

const USUAL: Mapped[] = [
  { field: "prompt", column: "" },
  { field: "completion", column: "" },
];

/** How to read a file that was not understood: its shape, what its columns are, and whether rows may be skipped. */
export function ReadingOptions({ file, columns, error, onRead, onCancel }: Props) {
  const schema = useQuery(schemaQuery);
  const [shape, setShape] = useState("");
  const [mapped, setMapped] = useState<Mapped[]>(USUAL);
  const [isPartial, setPartial] = useState(false);
  const id = useId();
  const change = (index: number, part: Partial<Mapped>) => {
    setMapped(mapped.map((entry, at) => (at === index ? { ...entry, ...part } : entry)));
  };
  return (
    <form
      className="reading"
      onSubmit={(event) => {
        event.preventDefault();
        onRead(optionsOf(shape, mapped, isPartial));
      }}
    >
      <ErrorNote error={error} />
      <h3>How to read {file.name}</h3>
      <label className="field">
        Shape of the rows
        <select value={shape} onChange={(event) => { setShape(event.target.value); }}>
          <option value="">Detect it</option>
          {schema.data?.shapes.map((name) => <option key={name}>{name}</option>)}
        </select>
      </label>
      <fieldset className="mapping">
        <legend>What the columns are</legend>
        {mapped.map((entry, index) => (
          <div key={index} className="mapping-row">
            <input aria-label="Field" value={entry.field} spellCheck={false} onChange={(event) => { change(index, { field: event.target.value }); }} />
            <span aria-hidden="true">=</span>
            <input
              aria-label={`Column of ${entry.field || "this field"}`}
              placeholder="Column"
              list={`${id}-columns`}
              value={entry.column}
              spellCheck={false}
              onChange={(event) => { change(index, { column: event.target.value }); }}
            />
            <IconButton label={`Remove ${entry.field || "this field"}`} icon="close" onClick={() => { setMapped(mapped.filter((_, at) => at !== index)); }} />
          </div>
        ))}
        <Button look="ghost" icon="new" onClick={() => { setMapped([...mapped, { field: "", column: "" }]); }}>
          Another column
        </Button>
        <datalist id={`${id}-columns`}>{columns.map((name) => <option key={name} value={name} />)}</datalist>
      </fieldset>
      <label className="check">
        <input type="checkbox" checked={isPartial} onChange={(event) => { setPartial(event.target.checked); }} />
        Skip rows that cannot be read
      </label>
      <div className="buttons">
        <Button look="primary" type="submit">Read the file again</Button>
        <Button look="ghost" onClick={onCancel}>Choose another file</Button>
      </div>
    </form>
  );
}

export function optionsOf(shape: string, mapped: Mapped[], isPartial: boolean): UploadOptions {
  const used = mapped.filter(({ field, column }) => field.trim() && column.trim());
  return {
    ...(shape ? { shape } : {}),
    ...(used.length ? { columns: Object.fromEntries(used.map(({ field, column }) => [field.trim(), column.trim()])) } : {}),
    ...(isPartial ? { accept_partial: true } : {}),
  };
}
