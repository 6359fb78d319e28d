import { useState } from "react";
import { FieldProblem } from "../new/FieldProblem";
import type { Choice } from "./choice";
import type { Change, Options, Problems } from "./EvaluatePage";

interface Props {
  choice: Choice;
  change: Change;
  options: Options;
  problems: Problems;
}

const MANY_TASKS = 12;

/** Tasks of lm-evaluation-harness that the service has. */
export function TasksPart({ choice, change, options, problems }: Props) {
  const [search, setSearch] = useState("");
  const tasks = options.tasks ?? [];
  const shown = tasks.filter(({ name }) => choice.tasks.includes(name) || name.includes(search.trim()));
  const toggle = (name: string) => {
    change({ tasks: choice.tasks.includes(name) ? choice.tasks.filter((each) => each !== name) : [...choice.tasks, name] });
  };
  return (
    <section className="panel part" aria-labelledby="tasks-title">
      <h2 id="tasks-title">Benchmark tasks</h2>
      {options.problem && <p className="muted">{options.problem}</p>}
      {tasks.length > MANY_TASKS && (
        <label className="field">
          <span className="visually-hidden">Search tasks</span>
          <input type="search" value={search} placeholder="Search tasks" onChange={(event) => { setSearch(event.target.value); }} />
        </label>
      )}
      {tasks.length > 0 && (
        <fieldset className="measures task-list">
          <legend>Tasks of lm-eval, with rows and metrics of their own</legend>
          {shown.map(({ name, kind, num_tasks, problem }) => (
            <div key={name}>
              <label className="check">
                <input
                  type="checkbox"
                  checked={choice.tasks.includes(name)}
                  disabled={Boolean(problem) && !choice.tasks.includes(name)}
                  onChange={() => { toggle(name); }}
                />
                <span>
                  <code>{name}</code>
                  {kind !== "task" && <span className="muted small"> {kind} of {num_tasks} {num_tasks === 1 ? "task" : "tasks"}</span>}
                </span>
              </label>
              {problem && <p className="muted small">{problem}</p>}
              {choice.tasks.includes(name) && <FieldProblem path={`tasks.${String(choice.tasks.indexOf(name))}`} problems={problems} />}
            </div>
          ))}
          {shown.length === 0 && <p className="muted">No task has this in its name.</p>}
        </fieldset>
      )}
      {choice.tasks.length > 0 && (
        <>
          <label className="field narrow">
            Solved examples before each question
            <input
              inputMode="numeric"
              value={choice.numFewshot}
              placeholder="as the task says"
              onChange={(event) => { change({ numFewshot: event.target.value }); }}
            />
          </label>
          <FieldProblem path="tasks.0.num_fewshot" problems={problems} />
          <label className="check">
            <input type="checkbox" checked={choice.hasTemplate} onChange={() => { change({ hasTemplate: !choice.hasTemplate }); }} />
            Ask in the chat template of the model
          </label>
        </>
      )}
    </section>
  );
}
