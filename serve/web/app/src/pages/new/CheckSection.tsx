import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { datasetQuery, type Reading } from "../../api/datasets";
import { modelCheckQuery } from "../../api/models";
import { useSettled } from "../../app/useSettled";
import { valueAt, type Config } from "../../config/draft";
import { plainText } from "../../config/values";
import { CheckPanel } from "../../data/CheckPanel";
import { TokenPanel } from "../../data/TokenPanel";
import type { DraftControl } from "./useDraft";

/** The rows as the chosen model reads them: what the doctor says, and their tokens. */
export function CheckSection({ control }: { control: DraftControl }) {
  const reading = useSettled(JSON.stringify(readingOf(control.draft.config)));
  const given = control.draft.config["dataset"];
  const id = plainText(Array.isArray(given) ? given[0] : given);
  const parsed = JSON.parse(reading) as Reading;
  const dataset = useQuery({ ...datasetQuery(id), enabled: id !== "" });
  const model = useQuery(modelCheckQuery(parsed.model));
  return (
    <section className="panel part" aria-labelledby="check-title">
      <h2 id="check-title">Check of the rows</h2>
      {dataset.isSuccess && model.isSuccess ? (
        <Panels
          key={dataset.data.id}
          id={dataset.data.id}
          numRows={dataset.data.num_rows}
          reading={parsed}
          onLength={(length) => { control.change({ "method.max_length": length }); }}
        />
      ) : (
        <p className="muted">
          {id === "" ? "Choose rows and a base model" : "Choose a base model"} to see what is wrong with the rows, and which of their
          tokens are trained.
        </p>
      )}
    </section>
  );
}

function Panels({ id, numRows, reading, onLength }: { id: string; numRows: number; reading: Reading; onLength: (length: number) => void }) {
  const [row, setRow] = useState(1);
  return (
    <>
      <CheckPanel id={id} reading={reading} onRow={setRow} onLength={onLength} />
      <h3>Tokens of a row</h3>
      <TokenPanel id={id} reading={reading} numRows={numRows} row={row} onRow={setRow} />
    </>
  );
}

/** What of the config decides how rows are read. Values that the service would choose are left to its defaults. */
function readingOf(config: Config): Reading {
  const length = valueAt(config, "method.max_length");
  const isAssistantOnly = valueAt(config, "method.assistant_only_loss");
  const isPacked = valueAt(config, "method.packing");
  const rewards = valueAt(config, "method.rewards");
  const evaluation = config["eval_dataset"];
  const types = Array.isArray(rewards) ? rewards.map((reward: unknown) => (typeof reward === "string" ? reward : valueAt(reward as Config, "type"))) : [];
  return {
    model: plainText(config["model"]).trim(),
    ...(Number.isInteger(length) ? { max_length: length as number } : {}),
    ...(typeof isAssistantOnly === "boolean" ? { assistant_only_loss: isAssistantOnly } : {}),
    ...(typeof isPacked === "boolean" ? { packing: isPacked } : {}),
    ...(typeof evaluation === "string" && evaluation ? { eval_dataset: evaluation } : {}),
    ...(types.length ? { rewards: types.filter((type) => typeof type === "string") } : {}),
  };
}
