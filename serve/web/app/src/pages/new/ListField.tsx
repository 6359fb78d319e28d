import { useId } from "react";
import { stringify } from "yaml";
import type { Setting, Variant } from "../../config/schema";
import { variantOf } from "../../config/values";
import { Button, IconButton } from "../../ui/Button";
import { HelpText } from "../../ui/HelpText";
import { SettingField, SettingName } from "./SettingField";

interface Props {
  setting: Setting;
  value: unknown;
  /** What is wrong, by path: of the list itself, and inside its items. */
  problems: Record<string, string>;
  onChange: (value: unknown) => void;
}

interface ItemProps extends Props {
  item: unknown;
  path: string;
  onChange: (item: unknown) => void;
}

/** Whether a setting is shown as a list of items; a value that is no list is shown as it is written. */
export function isListed({ items }: Setting, value: unknown): boolean {
  return items !== null && (value === undefined || Array.isArray(value));
}

/** A setting that is a list: its items one below the other, each with its own fields. */
export function ListField({ setting, value, problems, onChange }: Props) {
  const title = useId();
  const items = Array.isArray(value) ? (value as unknown[]) : [];
  const change = (after: unknown[]) => { onChange(after.length ? after : undefined); };
  const problem = problems[setting.path];
  const Item = setting.items?.kind === "variants" ? VariantItem : TextItem;
  return (
    <div
      className={`setting setting-list ${items.length ? "setting-set" : ""}`}
      role="group"
      aria-labelledby={title}
      id={`setting-${setting.path}`}
      tabIndex={-1}
    >
      <div className="setting-head">
        <span id={title}><code><SettingName path={setting.path} /></code></span>
      </div>
      <p className="muted small"><HelpText text={setting.text} /></p>
      {problem && <p id={`problem-${setting.path}`} className="field-problem" role="alert">{problem}</p>}
      {items.map((item, index) => (
        <div key={index} className="list-item">
          <Item
            setting={setting}
            value={value}
            item={item}
            path={`${setting.path}.${String(index)}`}
            problems={problems}
            onChange={(after) => { change(items.with(index, after)); }}
          />
          <IconButton
            label={`Remove number ${String(index + 1)} of ${setting.path}`}
            icon="close"
            onClick={() => { change(items.toSpliced(index, 1)); }}
          />
        </div>
      ))}
      <Add setting={setting} onAdd={(item) => { change([...items, item]); }} />
    </div>
  );
}

/** A text. Another form, such as a conversation, is shown as it is and changed as YAML. */
function TextItem({ setting, item, path, onChange }: ItemProps) {
  if (typeof item !== "string") return <pre className="list-other">{stringify(item).trim()}</pre>;
  const common = { "aria-label": path, value: item, id: `setting-${path}` };
  if (setting.items?.kind === "texts" && setting.items.isLong) {
    return <textarea {...common} rows={2} onChange={(event) => { onChange(event.target.value); }} />;
  }
  return <input {...common} spellCheck={false} onChange={(event) => { onChange(event.target.value); }} />;
}

function VariantItem({ setting, item, path, problems, onChange }: ItemProps) {
  const variants = setting.items?.kind === "variants" ? setting.items.variants : [];
  const variant = variantOf(variants, item);
  const given = (item ?? {}) as Record<string, unknown>;
  return (
    <div className="variant">
      <strong>{String(given["type"] ?? "?")}</strong>
      {variant ? (
        <>
          <p className="muted small"><HelpText text={variant.text} /></p>
          <div className="setting-grid">
            {variant.settings.map((inner) => {
              const place = `${path}.${inner.path}`;
              return (
                <SettingField
                  key={place}
                  setting={{ ...inner, path: place }}
                  name={inner.path}
                  value={given[inner.path]}
                  problem={problems[place]}
                  onChange={(value) => { onChange(withValue(given, inner.path, value)); }}
                />
              );
            })}
          </div>
        </>
      ) : (
        <pre className="list-other">{stringify(item).trim()}</pre>
      )}
    </div>
  );
}

function withValue(item: Record<string, unknown>, name: string, value: unknown): Record<string, unknown> {
  const rest = Object.fromEntries(Object.entries(item).filter(([key]) => key !== name));
  return value === undefined ? rest : { ...rest, [name]: value };
}

function Add({ setting, onAdd }: { setting: Setting; onAdd: (item: unknown) => void }) {
  if (setting.items?.kind !== "variants") return <Button className="list-add" icon="new" onClick={() => { onAdd(""); }}>Add a text</Button>;
  return (
    <select
      className="list-add"
      aria-label={`Add to ${setting.path}`}
      value=""
      onChange={(event) => { onAdd({ type: event.target.value }); }}
    >
      <option value="">Add one…</option>
      {setting.items.variants.map(({ type, text }: Variant) => <option key={type} value={type}>{`${type}: ${text}`}</option>)}
    </select>
  );
}
