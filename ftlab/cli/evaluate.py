"""`ftlab eval` and `ftlab results`: models measured on a dataset, and what an evaluation found."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument

if TYPE_CHECKING:
    from ftlab.schemas.evaluation_results import EvaluationResults, MetricResult, ModelResult, PairedTest, ScoredRow

SIGNIFICANT = 0.05
OTHER_TOKENS = "not comparable, other tokens"


@command(app, name="eval", patient=True)
def evaluate(
    session: Session,
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Models: ids or names of jobs, 'model:ID', 'org/name' or a path."),
    ],
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="DATASET", help="File, id or name of the dataset to measure on.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "-m", metavar="METRIC", help="Type of a metric, or '{type: TYPE, ...}'; may be repeated."
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", metavar="TASK", help="Task of lm-eval that the service has; may be repeated."),
    ] = None,
    max_rows: Annotated[int | None, typer.Option("--max-rows", help="Measure only the first rows.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the evaluation.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set another setting, as a.b=value.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure again what was measured before.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print all settings and what the evaluation would need; store nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the results and print them.")] = True,
) -> None:
    """Measure models and their base models on a dataset or on tasks: is the tuned model better?"""
    from ftlab.cli.follow import detaching, follow_to_end
    from ftlab.cli.job_source import assign, model_reference, source_of
    from ftlab.cli.submit import dataset_ids, report_submitted

    if dataset is None and not tasks:
        raise typer.BadParameter("name the rows to measure on, with --dataset or --task.", param_hint="--dataset")
    models = [model_reference(session, model) for model in models]
    document = _document(models, dataset, metrics, tasks, max_rows, name)
    if again:
        document["reuse"] = False
    for assignment in assignments or []:
        assign(document, assignment)
    source = source_of(document, Path.cwd(), "ftlab eval")
    if dry_run:
        from ftlab.cli.dry_run import print_dry_run

        print_dry_run(session, source)
        return
    job = session.client.jobs.create(source.with_ids(dataset_ids(session, [source], "ftlab eval")))
    if not wait:
        report_submitted(session, job)
        return
    if job.is_cached:
        session.output.talk(f"These models were measured before on these rows, by job {job.id}.")
    elif session.output.as_json:
        session.client.jobs.wait(job.id)
    else:
        with detaching(session, job.id):
            follow_to_end(session, job, after=0)
    _print_results(session, session.client.evaluations.results(job.id))


@command(app)
def results(
    session: Session,
    job: JobArgument,
    rows: Annotated[bool, typer.Option("--rows", help="Print every row with its answers and scores, as JSON.")] = False,
) -> None:
    """Show what an evaluation found: values with intervals, tests, and the worst and best rows."""
    if rows:
        for row in session.client.evaluations.rows(job):
            session.output.json_line(row.model_dump(mode="json", exclude_defaults=True))
        return
    _print_results(session, session.client.evaluations.results(job))


def _document(
    models: list[str],
    dataset: str | None,
    metrics: list[str] | None,
    tasks: list[str] | None,
    max_rows: int | None,
    name: str | None,
) -> dict[str, Any]:
    given = {
        "dataset": dataset,
        "metrics": [_metric(text) for text in metrics] if metrics else None,
        "tasks": [_task(text) for text in tasks] if tasks else None,
        "max_rows": max_rows,
        "name": name,
    }
    return {"kind": "evaluation", "models": models} | {key: value for key, value in given.items() if value is not None}


def _metric(text: str) -> Any:
    """The metric that an option names: a type, or a mapping in YAML."""
    from ftlab.schemas.job_file import read_yaml

    return read_yaml(text, "--metric")


def _task(text: str) -> Any:
    """The task that an option names: its name, or a mapping in YAML."""
    from ftlab.schemas.job_file import read_yaml

    return read_yaml(text, "--task") if text.lstrip().startswith("{") else text


def _print_results(session: Session, found: "EvaluationResults") -> None:
    if session.output.as_json:
        session.output.json(found)
        return
    columns = ("MODEL", "METRIC", "VALUE", "95% INTERVAL", "ROWS", "SKIPPED", "AGAINST BASE", "P")
    optional = ("P", "ROWS", "95% INTERVAL")
    session.output.table(columns, list(_lines(found)), shrink=("MODEL", "METRIC"), optional=optional)
    for sentence in _cut_answers(found):
        session.output.talk(sentence)
    own = {(model.key, model.base) for model in found.models}
    for test in found.tests:
        if (test.model, test.other) not in own:
            session.output.data(_comparison(found, test))
    for model in found.models:
        for metric in model.metrics:
            if metric.worst:
                session.output.talk(f"{_title(model)}, {metric.metric}:")
                _print_rows(session, "worst", metric.worst)
                _print_rows(session, "best", metric.best)


def _cut_answers(found: "EvaluationResults") -> Iterator[str]:
    """A sentence for each model with answers that were cut off, which most metrics give less than they deserve."""
    for model in found.models:
        if model.num_cut_answers:
            yield (
                f"{model.num_cut_answers:,} of {model.num_answers:,} answers of {_title(model)} were cut off at "
                "generation.max_new_tokens."
            )


def _lines(found: "EvaluationResults") -> Iterator[tuple[object, ...]]:
    tests = {(test.model, test.other, test.metric): test for test in found.tests}
    for model in found.models:
        for metric in model.metrics:
            test = tests.get((model.key, model.base or "", metric.metric))
            yield (
                f"{_title(model)} (base)" if model.base is None else _title(model),
                metric.metric,
                _number(metric.value),
                "" if metric.low is None else f"{_number(metric.low)} to {_number(metric.high)}",
                metric.num_rows,
                ", ".join(f"{count} {reason}" for reason, count in metric.skipped.items()),
                "" if test is None else _verdict(metric, test),
                "" if test is None or test.p_value is None else f"{test.p_value:.3f}",
            )


def _title(model: "ModelResult") -> str:
    return model.title or model.name


def _verdict(metric: "MetricResult", test: "PairedTest") -> str:
    """The difference, and whether the test calls it better or worse."""
    if not test.is_comparable:
        return OTHER_TOKENS
    if test.difference is None:
        return ""
    shown = f"{test.difference:+.4g}"
    if test.p_value is None or test.p_value >= SIGNIFICANT or not test.difference:
        return f"{shown}, not significant"
    return f"{shown}, {'better' if (test.difference < 0) == metric.is_lower_better else 'worse'}"


def _comparison(found: "EvaluationResults", test: "PairedTest") -> str:
    names = {model.key: _title(model) for model in found.models}
    unknown = "not known" if test.is_comparable else OTHER_TOKENS
    difference = unknown if test.difference is None else f"{test.difference:+.4g}"
    p_value = "" if test.p_value is None else f", p {test.p_value:.3f}"
    return f"{names[test.model]} against {names[test.other]}, {test.metric}: {difference}{p_value}"


def _print_rows(session: Session, which: str, rows: "list[ScoredRow]") -> None:
    from ftlab.formatting import one_line

    for row in rows:
        answer = "" if row.answer is None else f" -> {one_line(row.answer)}"
        session.output.talk(f"  {which}: row {row.row}, {_number(row.score)}: {one_line(row.question)}{answer}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
