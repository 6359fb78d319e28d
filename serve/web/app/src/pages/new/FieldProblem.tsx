import type { Problems } from "./useProblems";

/** What is wrong with a setting, below its field. */
export function FieldProblem({ path, problems }: { path: string; problems: Pick<Problems, "byPath"> }) {
  const problem = problems.byPath[path];
  return problem ? <p id={`problem-${path}`} className="field-problem" role="alert">{problem}</p> : null;
}
