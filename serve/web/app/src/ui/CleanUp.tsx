import { useMutation, useQueryClient, type QueryKey } from "@tanstack/react-query";
import { bytes, counted } from "../format/format";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { ErrorNote } from "./Notes";

/** What a rule deletes, or would delete. */
interface Found {
  data?: unknown[];
  kept?: unknown[];
  size_bytes: number;
}

/** A number of the rule, as text that is being edited. */
interface NumberField {
  label: string;
  value: string;
  isWhole?: boolean;
  set(value: string): void;
}

interface Props {
  title: string;
  /** What is deleted, in the singular. */
  noun: string;
  fields: NumberField[];
  best: { label: string; keeps: boolean; set(keeps: boolean): void };
  /** What stays in any case. */
  note: string;
  prune(isDry: boolean): Promise<Found>;
  /** Query that the deletion makes stale. */
  stale: QueryKey;
  onClose: () => void;
}

/** Deletes records by a rule, after it has shown what the rule finds. */
export function CleanUp({ title, noun, fields, best, note, prune, stale, onClose }: Props) {
  const client = useQueryClient();
  const looking = useMutation({ mutationFn: () => prune(true) });
  const deleting = useMutation({
    mutationFn: () => prune(false),
    onSuccess: () => client.invalidateQueries({ queryKey: stale }),
  });
  const found = looking.data;
  const num = found?.data?.length ?? 0;
  const numKept = found?.kept?.length ?? 0;
  const isComplete = fields.every(({ value }) => value.trim() !== "");
  const footer = (
    <>
      <Button onClick={onClose}>Keep them</Button>
      {num > 0 ? (
        <Button look="danger" disabled={deleting.isPending} onClick={() => { deleting.mutate(undefined, { onSuccess: onClose }); }}>
          Delete {counted(num, noun)}
        </Button>
      ) : (
        <Button look="primary" disabled={!isComplete || looking.isPending} onClick={() => { looking.mutate(); }}>
          Show what would be deleted
        </Button>
      )}
    </>
  );
  return (
    <Dialog title={title} onClose={onClose} footer={footer}>
      {fields.map(({ label, value, isWhole, set }, place) => (
        <label key={label} className="field">
          {label}
          <input
            data-first={place === 0 || undefined}
            type="number"
            min={0}
            step={isWhole ? 1 : "any"}
            value={value}
            onChange={(event) => { set(event.target.value); looking.reset(); }}
          />
        </label>
      ))}
      <label className="check">
        <input type="checkbox" checked={best.keeps} onChange={(event) => { best.set(event.target.checked); looking.reset(); }} />
        {best.label}
      </label>
      <p className="muted small">{note}</p>
      {found && (
        <p role="status">
          {num === 0 ? `No ${noun} would be deleted.` : `${counted(num, noun)} with ${bytes(found.size_bytes)} would be deleted.`}{" "}
          {numKept > 0 && `${counted(numKept, noun)} of this age would stay.`}
        </p>
      )}
      {(looking.error ?? deleting.error) && <ErrorNote error={looking.error ?? deleting.error} />}
    </Dialog>
  );
}
