import { Fragment, useId, useState } from "react";
import { parse, stringify } from "yaml";
import type { Setting } from "../../config/schema";
import { boundsText, isNumeric, numberOf, plainText } from "../../config/values";
import { HelpText } from "../../ui/HelpText";
import { IconButton } from "../../ui/Button";

interface Props {
  setting: Setting;
  value: unknown;
  problem: string | undefined;
  /** Short name, for a setting inside a list. */
  name?: string;
  /** `undefined` leaves the setting to its default. */
  onChange: (value: unknown) => void;
}

/** One setting: its field, what it means, its bounds and default, and what is wrong with it. */
export function SettingField({ setting, value, problem, name, onChange }: Props) {
  const help = useId();
  const id = `setting-${setting.path}`;
  const isSet = value !== undefined;
  const described = { id, "aria-describedby": `${help} ${problem ? `problem-${setting.path}` : ""}`.trim(), "aria-invalid": problem ? true : undefined };
  return (
    <div className={`setting ${isSet ? "setting-set" : ""}`}>
      <div className="setting-head">
        <label htmlFor={id}>
          <code><SettingName path={name ?? setting.path} /></code>
        </label>
        {isSet && <IconButton label={`Reset ${setting.path} to its default`} icon="reset" onClick={() => { onChange(undefined); }} />}
      </div>
      {setting.choices.length > 0 ? (
        <Choice setting={setting} value={value} described={described} onChange={onChange} />
      ) : (
        <Text setting={setting} value={value} described={described} onChange={onChange} />
      )}
      {problem && <p id={`problem-${setting.path}`} className="field-problem" role="alert">{problem}</p>}
      <p id={help} className="muted small">
        <HelpText text={[setting.text, rangeText(setting)].filter(Boolean).join(" ")} />
      </p>
    </div>
  );
}

/** The path, which may break after a dot or an underscore. */
export function SettingName({ path }: { path: string }) {
  return path.split(/(?<=[._])/).map((part, index) => (
    <Fragment key={index}>
      {index > 0 && <wbr />}
      {part}
    </Fragment>
  ));
}

interface ControlProps extends Omit<Props, "problem"> {
  described: { id: string; "aria-describedby": string; "aria-invalid": boolean | undefined };
}

function Choice({ setting, value, described, onChange }: ControlProps) {
  const options = [...setting.choices, ...setting.words];
  const isKnown = value === undefined || options.includes(value);
  return (
    <select
      {...described}
      value={value === undefined ? "" : JSON.stringify(value)}
      onChange={(event) => { onChange(event.target.value === "" ? undefined : JSON.parse(event.target.value)); }}
    >
      <option value="">{defaultText(setting)}</option>
      {!isKnown && <option value={JSON.stringify(value)}>{plainText(value)}</option>}
      {options.map((option) => <option key={String(option)} value={JSON.stringify(option)}>{String(option)}</option>)}
    </select>
  );
}

/** What is typed stays as it is while it is being typed, also where it stands for the same value. */
function Text({ setting, value, described, onChange }: ControlProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const words = useId();
  const isYaml = setting.kind === "value" || setting.kind === "object";
  const shown = typed ?? (isYaml ? yamlText(value) : plainText(value));
  const change = (text: string) => {
    setTyped(text);
    onChange(text.trim() === "" ? undefined : valueOf(setting, text));
  };
  const common = { ...described, value: shown, placeholder: defaultText(setting), spellCheck: false, onBlur: () => { setTyped(null); } };
  if (isYaml && setting.words.length === 0) {
    return <textarea {...common} rows={shown.length > 60 ? 4 : 1} onChange={(event) => { change(event.target.value); }} />;
  }
  return (
    <>
      <input
        {...common}
        inputMode={isNumeric(setting) && setting.words.length === 0 ? "decimal" : undefined}
        list={setting.words.length ? words : undefined}
        autoComplete="off"
        onChange={(event) => { change(event.target.value); }}
      />
      {setting.words.length > 0 && (
        <datalist id={words}>{setting.words.map((word) => <option key={word} value={word} />)}</datalist>
      )}
    </>
  );
}

function valueOf(setting: Setting, text: string): unknown {
  if (isNumeric(setting)) return numberOf(text);
  if (setting.kind === "text") return text;
  try {
    return parse(text) as unknown;
  } catch {
    return text; // which the service refuses
  }
}

function yamlText(value: unknown): string {
  if (value === undefined) return "";
  return typeof value === "string" ? value : stringify(value, { collectionStyle: "flow", lineWidth: 0 }).trim();
}

function defaultText(setting: Setting): string {
  if (setting.isRequired) return "Required";
  return setting.default === null ? "Default" : `Default: ${yamlText(setting.default)}`;
}

function rangeText(setting: Setting): string {
  const bounds = boundsText(setting);
  const parts = [bounds, ...setting.words.map((word) => `\`${word}\``)].filter(Boolean);
  if (setting.kind === "object") return "Written as in YAML, for example `{type: object}`.";
  const isList = setting.kind === "value" && setting.words.length === 0;
  if (isList) return "Written as in YAML, for example `[a, b]`.";
  return parts.length ? `${parts.join(", or ").replace(/^./, (letter) => letter.toUpperCase())}.` : "";
}
