"""`ftlab sweep`: searches for the settings of a job."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.jobs import LimitOption, YesOption, confirm
from ftlab.cli.session import Session, command

if TYPE_CHECKING:
    from ftlab.schemas.sweeps import Sweep, SweepConfig, SweepPreview, SweepSummary, Trial

FILE_COMMAND = "start"
BAR = 20


class SweepGroup(TyperGroup):
    """`ftlab sweep FILE` stands for `ftlab sweep start FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_file = bool(args) and args[0] not in self.commands and args[0] not in CONTEXT["help_option_names"]
        return super().parse_args(ctx, [FILE_COMMAND, *args] if is_file else args)


sweeps = typer.Typer(
    cls=SweepGroup,
    help="Search for the settings of a job: 'ftlab sweep sweep.yaml' starts a search.",
    no_args_is_help=True,
    context_settings=CONTEXT,
)
app.add_typer(sweeps, name="sweep")

SweepArgument = Annotated[
    str, typer.Argument(metavar="SWEEP", help="The sweep: its id, unique id prefix or unique name.")
]


@command(sweeps, FILE_COMMAND)
def start_sweep(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="Sweep file; '-' reads standard input.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the sweep has ended, and print the result.")] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", metavar="KEY", help="Submitting again with the same key returns the first sweep."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate the sweep and print its first trials; store nothing.")
    ] = False,
) -> None:
    """Submit a sweep; 'ftlab sweep SWEEP.yaml' does the same."""
    sweep = _read(session, file, may_upload=not dry_run)
    if dry_run:
        _print_preview(session, session.client.sweeps.preview(sweep))
        return
    found = session.client.sweeps.create(sweep, idempotency_key)
    if found.is_replay:
        session.output.talk(f"This idempotency key was used before, for sweep {found.name!r}; it is {found.status}.")
    else:
        session.output.talk(f"Sweep {found.name!r} makes up to {found.max_trials} trials.")
    if wait:
        _print_sweep(session, session.client.sweeps.wait(found.id))
        return
    if session.output.as_json:
        session.output.json(found)
    else:
        session.output.data(found.id)
    session.output.talk(f"See it with 'ftlab sweep show {found.id}'.")


@command(sweeps, "ls")
def list_sweeps(session: Session, limit: LimitOption = 20) -> None:
    """List sweeps, newest first."""
    session.output.listing(
        session.client.sweeps.list(limit),
        ("ID", "NAME", "STATUS", "METHOD", "TRIALS", "BEST", "CREATED"),
        _row,
        empty="There are no sweeps. Create one with 'ftlab sweep SWEEP.yaml'.",
        shrink=("NAME",),
        optional=("METHOD", "CREATED"),
    )


@command(sweeps, "show")
def show_sweep(session: Session, sweep: SweepArgument) -> None:
    """Show a sweep: the best trial, all trials, and which parameters mattered."""
    _print_sweep(session, session.client.sweeps.get(sweep))


@command(sweeps, "pause")
def pause_sweep(session: Session, sweep: SweepArgument) -> None:
    """Pause a sweep: no new trial starts, and running ones save a checkpoint and release their devices."""
    found = session.client.sweeps.pause(sweep)
    session.output.done(found, f"{found.message} Resume it with: ftlab sweep resume {found.id}")


@command(sweeps, "resume")
def resume_sweep(session: Session, sweep: SweepArgument) -> None:
    """Resume a paused sweep, and the trials that were paused with it."""
    found = session.client.sweeps.resume(sweep)
    session.output.done(found, found.message)


@command(sweeps, "cancel")
def cancel_sweep(session: Session, sweep: SweepArgument) -> None:
    """Cancel a sweep and its trials; results and checkpoints are kept."""
    found = session.client.sweeps.cancel(sweep)
    session.output.done(found, found.message)


@command(sweeps, "rm")
def remove_sweep(session: Session, sweep: SweepArgument, yes: YesOption = False) -> None:
    """Delete a sweep that has ended; its jobs stay."""
    found = session.client.sweeps.get(sweep)
    confirm(f"Delete sweep {found.name!r} ({found.id})? Its jobs stay.", yes)
    session.client.sweeps.delete(found.id)
    session.output.talk(f"Deleted sweep {found.name!r}.")


def _read(session: Session, file: Path, *, may_upload: bool) -> "SweepConfig":
    """The sweep in a file. The datasets of its job may be local files, which are uploaded."""
    from ftlab.cli.dry_run import known_files
    from ftlab.cli.job_source import read_text, source_of
    from ftlab.cli.submit import dataset_ids, require_datasets
    from ftlab.errors import InvalidRequestError
    from ftlab.schemas.job_file import read_yaml
    from ftlab.schemas.sweep_rules import check_sweep, parse_sweep

    source = "standard input" if str(file) == "-" else str(file)
    sweep = parse_sweep(read_yaml(read_text(file), source), source)
    checked = check_sweep(sweep)
    folder = Path.cwd() if str(file) == "-" else file.parent
    # With values for the parameters, which the job of the file may leave out.
    named = source_of(checked.job.model_dump(mode="json", exclude_unset=True) | _datasets(sweep), folder, source)
    if may_upload:
        ids = dataset_ids(session, [named], source)
    else:
        ids, problem = known_files(session, [named])
        if problem is not None:
            message = f"{source}: the trials of a dry run are checked with their data, and {problem}"
            raise InvalidRequestError(message, "dataset_not_found", "job.dataset")
        require_datasets(session, [named], source)
    return sweep.model_copy(update={"job": sweep.job | named.document(ids)})


def _datasets(sweep: "SweepConfig") -> dict[str, Any]:
    from ftlab.cli.job_source import DATASET_FIELDS

    return {field: sweep.job[field] for field in DATASET_FIELDS if field in sweep.job}


def _row(sweep: "SweepSummary") -> tuple[object, ...]:
    from ftlab.formatting import number

    best = "" if sweep.best is None else f"{sweep.objective.metric} {number(sweep.best.value)}"
    trials = f"{sweep.num_trials}/{sweep.max_trials}"
    return sweep.id, sweep.name, sweep.status, sweep.method, trials, best, sweep.created_at


def _print_preview(session: Session, found: "SweepPreview") -> None:
    if session.output.as_json:
        session.output.json(found)
        return
    names = list(found.trials[0])
    rows = [(number, *(_shown(trial[name]) for name in names)) for number, trial in enumerate(found.trials)]
    session.output.table(("TRIAL", *_heads(names)), rows)
    rungs = f", compared at the steps {', '.join(map(str, found.rungs))}" if found.rungs else ""
    what = f"The sweep {found.name!r} is valid: up to {found.max_trials} trials{rungs}"
    session.output.talk(f"{what}. Nothing was stored.")


def _print_sweep(session: Session, found: "Sweep") -> None:
    from ftlab.formatting import duration, money, number

    if session.output.as_json:
        session.output.json(found)
        return
    best = found.best
    cost = money(found.cost, found.currency) if found.cost is not None and found.currency else None
    session.output.record(
        {
            "id": found.id,
            "name": found.name,
            "status": found.status,
            "message": found.message,
            "method": found.method,
            "objective": f"{found.objective.direction} {found.objective.metric}",
            "trials": f"{found.num_trials} of {found.max_trials}",
            "run time": duration(found.run_time_s or None),
            "cost": cost,
            "best trial": None if best is None else f"{best.number}, {found.objective.metric} {number(best.value)}",
            "best job": None if best is None else best.job_id,
            "MLflow run": found.mlflow_url,
        }
    )
    names = list(found.config["parameters"])
    shown = _heads(names)
    columns = ("TRIAL", "JOB", "STATE", found.objective.metric.upper(), *shown, "MESSAGE")
    rows = [_trial_row(trial, names, best) for trial in found.trials]
    session.output.table(columns, rows, shrink=("MESSAGE", *shown), optional=("MESSAGE", "JOB"))
    for line in _importance_lines(found):
        session.output.talk(line)
    if best is not None and best.job_id is not None:
        session.output.talk(f"Train the best one again with: ftlab clone {best.job_id}")


def _heads(parameters: list[str]) -> list[str]:
    """The names of parameters; on a terminal, without their groups, which say little where there is no room."""
    return [name.partition(".")[2] for name in parameters] if sys.stdout.isatty() else parameters


def _trial_row(trial: "Trial", names: list[str], best: "Trial | None") -> tuple[object, ...]:
    from ftlab.formatting import number

    mark = " (best)" if best is not None and trial.number == best.number else ""
    values = (_shown(trial.parameters[name]) for name in names)
    state = trial.job_status or trial.state
    return f"{trial.number}{mark}", trial.job_id or "", state, number(trial.value), *values, trial.message or ""


def _importance_lines(found: "Sweep") -> Iterator[str]:
    if found.importance is None:
        yield found.importance_note or ""
        return
    yield "Importance of the parameters:"
    width = max(map(len, found.importance))
    for name, share in found.importance.items():
        yield f"  {name:<{width}}  {'#' * round(share * BAR):<{BAR}} {share:.0%}"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
