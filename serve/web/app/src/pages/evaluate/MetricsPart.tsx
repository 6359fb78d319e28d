import { FieldProblem } from "../new/FieldProblem";
import { fitting, METRICS, type Choice, type Field, type MetricChoice, type Typed } from "./choice";
import type { Change, Options, Problems } from "./EvaluatePage";

interface Props {
  choice: Choice;
  change: Change;
  kind: string | undefined;
  options: Options | undefined;
  problems: Problems;
}

export function MetricsPart({ choice, change, kind, options, problems }: Props) {
  const toggle = (type: string) => {
    const { metrics } = choice;
    change({ metrics: metrics.includes(type) ? metrics.filter((each) => each !== type) : [...metrics, type] });
  };
  const judges = options?.judges ?? [];
  const chosen = choice.dataset === "" ? [] : fitting(choice.metrics, kind);
  const hasJudges = (metric: MetricChoice) => judges.length > 0 || !metric.fields?.some((field) => field.kind === "judge");
  return (
    <section className="panel part" aria-labelledby="metrics-title">
      <h2 id="metrics-title">Metrics</h2>
      <fieldset className="measures">
        <legend>Measure</legend>
        {METRICS.filter(hasJudges).map(({ type, label, kinds }) => {
          const isFitting = kind === undefined || kinds.includes(kind);
          return (
            <label key={type} className="check">
              <input
                type="checkbox"
                checked={isFitting && choice.metrics.includes(type)}
                disabled={!isFitting}
                onChange={() => { toggle(type); }}
              />
              {label}
            </label>
          );
        })}
      </fieldset>
      {chosen.map((metric, place) => (
        <MetricSettings
          key={metric.type}
          metric={metric}
          path={`metrics.${String(place)}`}
          typed={choice.settings[metric.type] ?? {}}
          onChange={(typed) => { change({ settings: { ...choice.settings, [metric.type]: typed } }); }}
          judges={judges}
          problems={problems}
        />
      ))}
      <label className="field narrow">
        Most tokens of an answer
        <input
          id="setting-generation.max_new_tokens"
          inputMode="numeric"
          value={choice.maxNewTokens}
          placeholder="256"
          onChange={(event) => { change({ maxNewTokens: event.target.value }); }}
        />
      </label>
      <FieldProblem path="generation.max_new_tokens" problems={problems} />
      <p className="muted small">
        A Python file as a metric{judges.length === 0 && ", and a judge once the service has one,"} is for <code>ftlab eval</code>.
      </p>
    </section>
  );
}

interface SettingsProps {
  metric: MetricChoice;
  path: string;
  typed: Typed;
  onChange: (typed: Typed) => void;
  judges: { name: string; model: string }[];
  problems: Problems;
}

/** The settings of a metric, and what is wrong with it. */
function MetricSettings({ metric, path, typed, onChange, judges, problems }: SettingsProps) {
  if (!metric.fields) return <FieldProblem path={path} problems={problems} />;
  return (
    <fieldset className="metric-settings">
      <legend>{metric.label}</legend>
      {metric.fields.map((field) => {
        const id = `${path}.${field.name}`;
        return (
          <div key={field.name} className={field.kind === "number" ? "metric-number" : "metric-field"}>
            <Input
              field={field}
              id={id}
              value={typed[field.name] ?? ""}
              isWrong={problems.byPath[id] !== undefined}
              judges={judges}
              onChange={(value) => { onChange({ ...typed, [field.name]: value }); }}
            />
            <FieldProblem path={id} problems={problems} />
          </div>
        );
      })}
      <FieldProblem path={path} problems={problems} />
    </fieldset>
  );
}

interface InputProps {
  field: Field;
  id: string;
  value: string;
  isWrong: boolean;
  judges: SettingsProps["judges"];
  onChange: (value: string) => void;
}

function Input({ field, id, value, isWrong, judges, onChange }: InputProps) {
  const wrong = isWrong ? { "aria-invalid": true, "aria-describedby": `problem-${id}` } : {};
  if (field.kind === "flag") {
    return (
      <label className="check">
        <input type="checkbox" checked={value !== ""} onChange={() => { onChange(value ? "" : "true"); }} />
        {field.label}
      </label>
    );
  }
  const common = { ...wrong, value, placeholder: field.placeholder, spellCheck: false };
  return (
    <label className="field">
      {field.label}
      {field.kind === "judge" ? (
        <select {...wrong} value={value} onChange={(event) => { onChange(event.target.value); }}>
          <option value="">Choose a judge</option>
          {judges.map(({ name, model }) => <option key={name} value={name}>{name} ({model})</option>)}
        </select>
      ) : field.kind === "lines" || field.kind === "yaml" ? (
        <textarea {...common} rows={value ? Math.min(12, value.split("\n").length + 1) : 2} onChange={(event) => { onChange(event.target.value); }} />
      ) : (
        <input
          {...common}
          inputMode={field.kind === "number" ? "decimal" : undefined}
          autoComplete="off"
          onChange={(event) => { onChange(event.target.value); }}
        />
      )}
    </label>
  );
}
