import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { datasetQuery } from "../../api/datasets";
import { datasetsOf, weightsOf, withMix, withMovedUp, withRemoved, withWeight } from "../../config/datasets";
import { numberOf, plainText } from "../../config/values";
import { Preview } from "../../data/Preview";
import { remarksOf, summaryOf } from "../../data/shape";
import { Link } from "../../router/Link";
import { Button, IconButton } from "../../ui/Button";
import { ErrorNote, Loading } from "../../ui/Notes";
import { FieldProblem } from "./FieldProblem";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

/** The datasets of the job in their order; several are trained one after another, or mixed by weight. */
export function ChosenDatasets({ control, problems }: { control: DraftControl; problems: Problems }) {
  const { config } = control.draft;
  const chosen = datasetsOf(config);
  return (
    <>
      {chosen.map((id, index) => (
        <Chosen key={`${id} ${String(index)}`} id={id} index={index} control={control} />
      ))}
      {chosen.length > 1 && <MixChoice control={control} />}
      <FieldProblem path="dataset_weights" problems={problems} />
    </>
  );
}

function Chosen({ id, index, control }: { id: string; index: number; control: DraftControl }) {
  const dataset = useQuery(datasetQuery(id));
  const isOne = datasetsOf(control.draft.config).length === 1;
  const name = dataset.data?.name ?? id;
  const remove = () => { control.change(withRemoved(control.draft.config, index)); };
  if (dataset.isPending) return <Loading lines={isOne ? 3 : 1} />;
  return (
    <>
      <div className="chosen-rows" id={index === 0 ? "setting-dataset" : undefined} tabIndex={-1}>
        <div>
          {dataset.isSuccess ? <Link to={`/datasets/${dataset.data.id}`}>{name}</Link> : <strong>{id}</strong>}
          {dataset.isSuccess && <p className="muted small">{summaryOf(dataset.data)}</p>}
        </div>
        {isOne ? (
          <Button look="ghost" onClick={remove}>Use other rows</Button>
        ) : (
          <div className="chosen-controls">
            <Weight index={index} name={name} control={control} />
            <IconButton
              label={`Move ${name} up`}
              icon="up"
              disabled={index === 0}
              onClick={() => { control.change(withMovedUp(control.draft.config, index)); }}
            />
            <IconButton label={`Remove ${name}`} icon="close" onClick={remove} />
          </div>
        )}
      </div>
      {dataset.isError && <ErrorNote error={dataset.error} />}
      {dataset.isSuccess && (
        <>
          {remarksOf(dataset.data).map((remark) => <p key={remark} className="note note-warn">{remark}</p>)}
          {isOne ? <Preview id={dataset.data.id} rows={3} /> : <FoldedPreview id={dataset.data.id} name={name} />}
        </>
      )}
    </>
  );
}

function FoldedPreview({ id, name }: { id: string; name: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className="chosen-values" onToggle={(event) => { setOpen(event.currentTarget.open); }}>
      <summary>First rows of {name}</summary>
      {isOpen && <Preview id={id} rows={3} />}
    </details>
  );
}

function Weight({ index, name, control }: { index: number; name: string; control: DraftControl }) {
  const [typed, setTyped] = useState<string | null>(null);
  const weights = weightsOf(control.draft.config);
  if (weights === null) return null;
  return (
    <label className="weight">
      <span className="muted">Weight</span>
      <input
        id={`setting-dataset_weights.${String(index)}`}
        aria-label={`Weight of ${name}`}
        inputMode="decimal"
        value={typed ?? plainText(weights[index])}
        onBlur={() => { setTyped(null); }}
        onChange={(event) => {
          setTyped(event.target.value);
          control.change(withWeight(control.draft.config, index, numberOf(event.target.value)));
        }}
      />
    </label>
  );
}

const WAYS = [
  { isMixed: false, label: "one after another, in this order" },
  { isMixed: true, label: "mixed by weight" },
];

function MixChoice({ control }: { control: DraftControl }) {
  const isMixedNow = weightsOf(control.draft.config) !== null;
  return (
    <fieldset className="toolbar evaluation" id="setting-dataset_weights" tabIndex={-1}>
      <legend>Train them</legend>
      {WAYS.map(({ isMixed, label }) => (
        <label key={label} className="check">
          <input
            type="radio"
            name="mix"
            checked={isMixedNow === isMixed}
            onChange={() => { control.change(withMix(control.draft.config, isMixed)); }}
          />
          {label}
        </label>
      ))}
    </fieldset>
  );
}
