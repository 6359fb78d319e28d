import type { Schemas } from "../api/client";
import { Button, IconButton } from "../ui/Button";
import { settingsOf, textOf, type Setting } from "./resumeBody";

interface Props {
  settings: Setting[];
  onChange: (settings: Setting[]) => void;
  suggestions: Schemas["Suggestion"][];
  /** The setting that the service refused. */
  wrong: string | null;
}

/** The settings that change, each with its value; suggestions fill them in. */
export function SettingsForm({ settings, onChange, suggestions, wrong }: Props) {
  const change = (index: number, part: Partial<Setting>) => {
    onChange(settings.map((setting, at) => (at === index ? { ...setting, ...part } : setting)));
  };
  return (
    <div className="adjust">
      {suggestions.length > 0 && <Suggestions suggestions={suggestions} settings={settings} onChange={onChange} />}
      {settings.map((setting, index) => (
        <div key={index} className="adjust-row">
          <label className="field">
            <span className="small">Setting</span>
            <input
              value={setting.field}
              placeholder="training.learning_rate"
              spellCheck={false}
              onChange={(event) => { change(index, { field: event.target.value }); }}
            />
          </label>
          <label className="field">
            <span className="small">New value</span>
            <input
              value={setting.text}
              spellCheck={false}
              aria-invalid={wrong?.endsWith(setting.field) && setting.field !== "" ? true : undefined}
              onChange={(event) => { change(index, { text: event.target.value }); }}
            />
          </label>
          <IconButton
            label={`Do not change ${setting.field || "this setting"}`}
            icon="close"
            onClick={() => { onChange(settings.filter((_, at) => at !== index)); }}
          />
        </div>
      ))}
      <Button look="ghost" icon="new" onClick={() => { onChange([...settings, { field: "", text: "" }]); }}>
        Change another setting
      </Button>
    </div>
  );
}

function Suggestions({ suggestions, settings, onChange }: Omit<Props, "wrong">) {
  return (
    <ul className="suggestions">
      {suggestions.map((suggestion) => {
        const own = settingsOf(suggestion);
        const isUsed = own.every(({ field }) => settings.some((setting) => setting.field === field));
        const others = settings.filter((setting) => !own.some(({ field }) => field === setting.field));
        return (
          <li key={own.map(({ field }) => field).join()}>
            <label className="choice">
              <input
                type="checkbox"
                checked={isUsed}
                onChange={() => { onChange(isUsed ? others : [...others, ...own]); }}
              />
              <span>
                <span>
                  {suggestion.changes.map((change) => (
                    <code key={change.field} className="change">
                      {change.field}: {textOf(change.from)} → {textOf(change.to)}
                    </code>
                  ))}
                </span>
                <span className="muted small">{suggestion.reason} {suggestion.effect}</span>
              </span>
            </label>
          </li>
        );
      })}
    </ul>
  );
}
