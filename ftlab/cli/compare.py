"""`ftlab compare`: several jobs over each other."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import complete_job

if TYPE_CHECKING:
    from ftlab.schemas.comparisons import ComparedRun, Comparison

WIDTH = 80


@command(app)
def compare(
    session: Session,
    jobs: Annotated[
        list[str],
        typer.Argument(
            metavar="ID ID...",
            help="Two to ten jobs: ids, unique id prefixes or unique names.",
            autocompletion=complete_job,
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write a report as an HTML page.", show_default=False),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Also print the newest answers to sample prompts.")
    ] = False,
) -> None:
    """Compare jobs: results, settings that differ, and data."""
    if len(jobs) < 2:
        raise typer.BadParameter("Name at least two jobs.")
    found = session.client.jobs.compare(jobs)
    if html is not None:
        from ftlab.pages.comparison_page import comparison_page

        session.output.page(html, comparison_page(found))
    if session.output.as_json:
        session.output.json(found)
        return
    for note in found.notes:
        session.output.talk(textwrap.fill(note, WIDTH))
    columns = ("JOB", "STATUS", "STEP", "LAST", "BEFORE", "BEST EVAL", "GROUP", "TOKENS/S", "TIME", "COST")
    optional = ("TOKENS/S", "COST", "STEP", "BEFORE")
    session.output.table(columns, [_results(run) for run in found.runs], shrink=("JOB",), optional=optional)
    _print_settings(session, found)
    _print_data(session, found)
    _print_evaluations(session, found)
    if samples:
        _print_samples(session, found)


def _results(run: "ComparedRun") -> tuple[str, ...]:
    from ftlab.cli.text import GLYPHS, steps
    from ftlab.formatting import duration, money, number
    from ftlab.pages.comparison_page import evaluation, group

    return (
        run.name,
        f"{GLYPHS[run.status]} {run.status}",
        steps(run.step, run.total_steps),
        number(run.last),
        number(run.best.before_training) if run.best else "",
        evaluation(run) + (" ★" if run.is_best else ""),
        group(run),
        "" if run.tokens_per_s is None else f"{run.tokens_per_s:,.0f}",
        duration(run.run_time_s),
        "" if run.cost is None else money(run.cost.amount, run.cost.currency),
    )


def _print_settings(session: Session, found: "Comparison") -> None:
    from ftlab.formatting import shown_value

    names = [run.name for run in found.runs]
    rows = [(each.field, *(shown_value(value) for value in each.values)) for each in found.settings]
    if not rows:
        session.output.talk("No setting differs.")
        return
    session.output.data("")
    session.output.table(("SETTING", *names), rows, shrink=names)


def _print_data(session: Session, found: "Comparison") -> None:
    from ftlab.pages.comparison_page import uses_of

    session.output.data("")
    names = [run.name for run in found.runs]
    rows = [
        (each.dataset_id, each.name or "(deleted)", each.num_rows or "", each.same_as or "", *uses_of(each, found.runs))
        for each in found.datasets
    ]
    columns = ("DATASET", "NAME", "ROWS", "SAME ROWS AS", *names)
    session.output.table(columns, rows, shrink=("NAME", *names), optional=("SAME ROWS AS", "ROWS"))


def _print_evaluations(session: Session, found: "Comparison") -> None:
    from ftlab.formatting import number
    from ftlab.pages.comparison_page import measured

    if not found.evaluations:
        return
    session.output.data("")
    names = [run.name for run in found.runs]
    rows = [
        (each.metric, each.dataset_id or "", number(each.base), *map(measured, each.values))
        for each in found.evaluations
    ]
    session.output.table(("METRIC", "DATASET", "BASE", *names), rows, shrink=names)


def _print_samples(session: Session, found: "Comparison") -> None:
    from ftlab.formatting import one_line

    names = {run.job_id: run.name for run in found.runs}
    for prompt in found.samples:
        session.output.data(f"\n> {one_line(prompt.prompt)}")
        for answer in prompt.answers:
            session.output.data(f"{names[answer.job_id]}, step {answer.step}: {one_line(answer.text)}")
