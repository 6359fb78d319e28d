import { useState } from "react";
import { methodOf, valueAt, withMethod } from "../../config/draft";
import { GROUPS, type JobSchema, type Setting } from "../../config/schema";
import { Icon } from "../../ui/Icon";
import { HelpText } from "../../ui/HelpText";
import { isListed, ListField } from "./ListField";
import { SettingField } from "./SettingField";
import type { DraftControl } from "./useDraft";
import type { Problems } from "./useProblems";

/** Settings that most jobs change. All others are one click away. */
const COMMON = [
  "tuning",
  "training.num_train_epochs",
  "training.max_steps",
  "training.learning_rate",
  "training.per_device_train_batch_size",
  "training.gradient_accumulation_steps",
  "method.rewards",
  "method.max_length",
  "lora.r",
  "training.eval_steps",
];
/** Settings with a place of their own on this page. */
const ELSEWHERE = ["name", "model", "dataset", "dataset_weights", "eval_dataset", "eval_split"];

const TITLES: Record<string, string> = { "": "The job", method: "Method", lora: "Adapter", training: "Training", resources: "Devices" };

interface Props {
  schema: JobSchema;
  control: DraftControl;
  problems: Problems;
}

/** Every setting of a job, with the help and the bounds that the service gives. */
export function SettingsSection({ schema, control, problems }: Props) {
  const [search, setSearch] = useState("");
  const { config } = control.draft;
  const method = methodOf(config, schema.methods[0]?.type ?? "");
  const settings = schema.settings(method).filter(({ path }) => !ELSEWHERE.includes(path));
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = settings.filter(({ path, text }) => words.every((word) => `${path} ${text}`.toLowerCase().includes(word)));
  const fields = (shown: Setting[]) => (
    <div className="setting-grid">
      {shown.map((setting) => {
        const value = valueAt(config, setting.path);
        const onChange = (after: unknown) => { control.change({ [setting.path]: after }); };
        return isListed(setting, value) ? (
          <ListField key={setting.path} setting={setting} value={value} problems={problems.byPath} onChange={onChange} />
        ) : (
          <SettingField key={setting.path} setting={setting} value={value} problem={problems.byPath[setting.path]} onChange={onChange} />
        );
      })}
    </div>
  );
  return (
    <>
      <MethodChoice schema={schema} control={control} method={method} />
      <label className="search">
        <Icon name="search" />
        <span className="visually-hidden">Find a setting</span>
        <input type="search" placeholder="Find a setting" value={search} onChange={(event) => { setSearch(event.target.value); }} />
      </label>
      {words.length > 0 ? (
        <>
          {fields(found)}
          {found.length === 0 && <p className="muted">No setting matches.</p>}
        </>
      ) : (
        <>
          {fields(COMMON.flatMap((path) => settings.filter((setting) => setting.path === path)))}
          {["", ...GROUPS].map((group) => (
            <Group
              key={group}
              title={TITLES[group] ?? group}
              settings={settings.filter((setting) => setting.group === group && !COMMON.includes(setting.path))}
              numChanged={settings.filter((setting) => setting.group === group && !COMMON.includes(setting.path) && valueAt(config, setting.path) !== undefined).length}
              hasProblem={settings.some((setting) => setting.group === group && !COMMON.includes(setting.path) && hasProblem(setting, problems))}
              fields={fields}
            />
          ))}
        </>
      )}
    </>
  );
}

/** The setting or something inside it. */
function hasProblem({ path }: Setting, problems: Problems): boolean {
  return Object.keys(problems.byPath).some((found) => found === path || found.startsWith(`${path}.`));
}

interface GroupProps {
  title: string;
  settings: Setting[];
  numChanged: number;
  hasProblem: boolean;
  fields: (shown: Setting[]) => React.ReactNode;
}

function Group({ title, settings, numChanged, hasProblem, fields }: GroupProps) {
  const [isOpened, setOpened] = useState(false);
  const isOpen = isOpened || hasProblem;
  return (
    <details className="group" open={isOpen} onToggle={(event) => { setOpened(event.currentTarget.open); }}>
      <summary>
        <h3>{title}</h3>
        <span className="muted small">
          {settings.length} more settings{numChanged ? `, ${String(numChanged)} set` : ""}
        </span>
      </summary>
      {isOpen && fields(settings)}
    </details>
  );
}

function MethodChoice({ schema, control, method }: { schema: JobSchema; control: DraftControl; method: string }) {
  const info = schema.methods.find(({ type }) => type === method);
  return (
    <>
      <label className="field">
        Method
        <select
          id="setting-method"
          aria-describedby="method-help"
          value={method}
          onChange={(event) => {
            const type = event.target.value;
            control.set(withMethod(control.draft, type, schema.settings(type).map(({ path }) => path)));
          }}
        >
          {!info && <option value={method}>{method}</option>}
          {schema.methods.map(({ type }) => <option key={type}>{type}</option>)}
        </select>
      </label>
      <p id="method-help" className="muted small"><HelpText text={info?.text ?? ""} /></p>
    </>
  );
}
