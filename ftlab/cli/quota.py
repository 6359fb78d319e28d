"""`ftlab quota`: your limits and your usage."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command

if TYPE_CHECKING:
    from ftlab.schemas import Quota


@command(app)
def quota(
    session: Session,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a limit; 'null' restores the service's setting."),
    ] = None,
) -> None:
    """Show your limits and your usage, or change limits."""
    limits: dict[str, Any] = {}
    for assignment in assignments or []:
        _assign(limits, assignment)
    found = session.client.quota.set(**limits) if limits else session.client.quota.get()
    if session.output.as_json:
        session.output.json(found)
    else:
        session.output.record(_fields(found))


def _assign(limits: dict[str, Any], assignment: str) -> None:
    from ftlab.errors import InvalidRequestError
    from ftlab.schemas.job_file import read_yaml

    name, equals, text = assignment.partition("=")
    if not equals or not name.strip():
        raise InvalidRequestError(f"--set {assignment!r} must look like max_queued_jobs=20.", "invalid_option")
    limits[name.strip()] = read_yaml(text, f"--set {name}")


def _fields(quota: "Quota") -> dict[str, object]:
    from ftlab.formatting import number, size

    def of(used: str, limit: str | None) -> str:
        return f"{used} of {limit}" if limit is not None else f"{used}, no limit"

    def bytes_of(used: int, limit: int | None) -> str:
        return of(size(used), None if limit is None else size(limit))

    return {
        "Owner": quota.owner,
        "Queued jobs": of(str(quota.queued_jobs), _text(quota.max_queued_jobs)),
        "Running GPUs": of(number(quota.running_gpus), _text(quota.max_running_gpus)),
        "Running CPU cores": of(str(quota.running_cpus), _text(quota.max_running_cpus)),
        "Disk": bytes_of(quota.disk_bytes, quota.max_disk_bytes),
        "Uploads": bytes_of(quota.upload_bytes, quota.max_upload_bytes),
        "Weight": number(quota.weight),
        "Cost this month": _cost(quota),
    }


def _cost(quota: "Quota") -> str | None:
    from ftlab.formatting import money

    if quota.currency is None:
        return None
    spent = money(quota.monthly_cost, quota.currency)
    if quota.max_monthly_cost is None:
        return f"{spent}, no limit"
    return f"{money(quota.monthly_cost, None)} of {money(quota.max_monthly_cost, quota.currency)}"


def _text(limit: float | None) -> str | None:
    return None if limit is None else f"{limit:g}" if isinstance(limit, float) else str(limit)
