"""`ftlab submit --dry-run`: all settings of a job, and what it would need."""

import hashlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftlab.cli.job_source import JobSource
    from ftlab.cli.session import Session
    from ftlab.schemas import DeviceEstimate, JobEstimate, MemoryParts

REUSE_WINDOW = 1000
"""Number of newest datasets that are searched for a file."""
WIDTH = 80
LABEL = 8
FITS = {"fits": "fits", "does_not_fit": "does not fit", "unknown": "unknown"}


def print_dry_run(session: "Session", source: "JobSource") -> None:
    """Print the settings, and to standard error what the service estimates. Uploads and stores nothing."""
    from ftlab.schemas.auto import auto_settings
    from ftlab.schemas.job_file import write_yaml

    # With null for what is off or depends on the machine, so that no setting is missing.
    document = source.config.resolved().model_dump(mode="json") | source.document(
        {path: str(path) for path in source.files}
    )
    if not session.output.as_json:
        session.output.data(write_yaml(document).rstrip())
    for name in source.missing_files:
        session.output.talk(f"There is no file {name!r}; the service must have a dataset with this name.")
    estimate, problem = estimated(session, source)
    if session.output.as_json:
        session.output.json({"config": document, "estimate": estimate, "problem": problem})
    elif estimate is not None:
        for line in estimate_lines(estimate):
            session.output.talk(line)
    if estimate is not None:
        session.output.talk("The job is valid; nothing was uploaded or submitted.")
        return
    session.output.talk(f"Not estimated: {problem}")
    session.output.talk(
        "The file is valid; nothing was uploaded or submitted. Not checked: the base model, datasets on the service, "
        "and the devices."
    )
    if names := auto_settings(source.config):
        session.output.talk("The service chooses these settings when the job is submitted:")
    for name in names:
        session.output.talk(f"  {name}")


def estimated(session: "Session", source: "JobSource") -> "tuple[JobEstimate | None, str | None]":
    """The estimate of the service, or a sentence that says why there is none.

    Raise the error with which a submission would be refused.
    """
    from ftlab.errors import ServiceUnavailableError, UnreachableError
    from ftlab.schemas import JobConfig

    try:
        ids = {path: find_uploaded(session, path) for path in source.files}
        if missing := [path.name for path, found in ids.items() if found is None]:
            return None, f"{missing[0]} is not on the service yet; 'ftlab datasets upload' brings it there."
        config = source.with_ids({path: found for path, found in ids.items() if found is not None})
        if not isinstance(config, JobConfig):
            return None, f"the service estimates training jobs, and this is a job of the kind '{config.kind}'."
        return session.client.jobs.estimate(config), None
    except (ServiceUnavailableError, UnreachableError) as error:
        return None, error.message


def find_uploaded(session: "Session", path: Path) -> str | None:
    """The newest dataset on the service with the content of this file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    newest = session.client.datasets.list(REUSE_WINDOW)
    return next((dataset.id for dataset in newest if dataset.sha256 == sha256), None)


def estimate_lines(estimate: "JobEstimate") -> Iterator[str]:
    """The estimate as text, at most `WIDTH` columns wide."""
    from ftlab.cli.text import auto_lines
    from ftlab.formatting import duration, money, size

    if estimate.auto:
        yield "The service would choose:"
        yield from auto_lines(estimate.auto)
    yield f"Estimate for {estimate.model}"
    if (rows := estimate.rows) is not None:
        counted = "all counted" if rows.is_exact else "from a sample"
        yield from _entry("rows", f"{rows.num_rows:,}, {rows.tokens_per_epoch:,} tokens per epoch ({counted})")
        if rows.num_eval_rows is not None:
            yield from _entry("", f"{rows.num_eval_rows:,} more rows are set aside for evaluation (eval_split)")
    if estimate.steps is not None:
        yield from _entry("steps", f"{estimate.steps:,}; {estimate.tokens or 0:,} tokens in all")
    if estimate.time_s is not None:
        yield from _entry("time", f"{duration(estimate.time_s)}, at the speed of {estimate.measured_job_id}")
    if estimate.cost is not None:
        yield from _entry("cost", f"{money(estimate.cost, estimate.currency)} for the training")
    if estimate.checkpoints_bytes is not None:
        number = estimate.num_checkpoints
        most = "1 checkpoint" if number == 1 else f"up to {number} checkpoints"
        kept = f"{size(estimate.checkpoints_bytes)} for {most}"
        yield from _entry("disk", f"{kept}, {size(estimate.delivered_bytes or 0)} for the tuned model")
    for device in estimate.devices:
        yield from _device(device)
    if estimate.memory_correction is not None:
        times = f"{estimate.memory_correction:.2f} times the computed memory"
        yield from _entry(
            "measured", f"{estimate.memory_job_id} needed {times} in its trial pass; the totals include this"
        )
    for alternative in estimate.alternatives:
        for number, (name, value) in enumerate(alternative.changes.items()):
            yield from _entry("" if number else "try", f"--set {name}={_value(value)}")
        yield from _entry("", f"{size(alternative.peak_bytes)} on {alternative.device}. {alternative.message}")
    for note in estimate.notes:
        yield from _entry("note", note)


def _device(device: "DeviceEstimate") -> Iterator[str]:
    yield from _entry(device.device, f"{FITS.get(device.fits, device.fits)}: {device.message}")
    if device.training is not None:
        yield from _entry("", f"training: {_parts(device.training)}")
    if device.evaluation is not None:
        yield from _entry("", f"evaluation: {_parts(device.evaluation)}")


def _parts(parts: "MemoryParts") -> str:
    from ftlab.formatting import size

    names = ("weights", "adapter", "gradients", "optimizer", "activations", "logits", "overhead")
    return ", ".join(f"{name} {size(getattr(parts, name))}" for name in names if getattr(parts, name))


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _entry(label: str, text: str) -> list[str]:
    first = f"  {label:<{LABEL}} "
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * (LABEL + 3), break_on_hyphens=False)
