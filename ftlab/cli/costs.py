"""`ftlab costs`: what your jobs cost."""

import csv
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command, refuse_unknown

if TYPE_CHECKING:
    from ftlab.schemas.costs import CostSum

DAY = ["%Y-%m-%d"]


@command(app)
def costs(
    session: Session,
    by: Annotated[
        str, typer.Option("--by", help="What to sum by: model, job, owner, day, month or attempt.")
    ] = "model",
    since: Annotated[datetime | None, typer.Option("--since", formats=DAY, help="First day, in UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=DAY, help="Last day, in UTC.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show what your jobs cost, as sums of the attempts that have ended."""
    from ftlab.schemas.costs import CostGroup

    refuse_unknown([by], [group.value for group in CostGroup], "something that costs are summed by", "There are:")
    first, last = since.date() if since else None, until.date() if until else None
    found = session.client.costs.report(by, since=first, until=last)
    if session.output.as_json:
        session.output.json(found)
        return
    columns = (by, "name", "attempts", "cpu_hours", "gpu_hours", "energy_kwh", "amount", "currency")
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(_row(each) for each in found.data)
        return
    if not found.data:
        session.output.talk("No attempt has ended in this period.")
        return
    if all(total.amount is None for total in found.totals):
        session.output.talk("The service has no prices: see the setting 'prices'.")
    rows = [_row(each) for each in [*found.data, *found.totals]]
    heads = [column.upper().replace("_", " ") for column in columns]
    session.output.table(heads, rows, shrink=("NAME", "MODEL"), optional=("ENERGY KWH", "ATTEMPTS"))


def _row(found: "CostSum") -> tuple[str, ...]:
    name, amount = found.name or "", "" if found.amount is None else f"{found.amount:f}"
    quantities = (f"{quantity:f}" for quantity in (found.cpu_hours, found.gpu_hours, found.energy_kwh))
    return found.key, name, str(found.num_attempts), *quantities, amount, found.currency or ""
