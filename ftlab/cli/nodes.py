"""`ftlab nodes`: the machines, their GPUs, and the jobs on them."""

from ftlab.cli.app import app
from ftlab.cli.session import Session, command


@command(app)
def nodes(session: Session) -> None:
    """Show the machines and GPUs, their load, and the jobs on them."""
    from ftlab.cli.device_text import COLUMNS, node_rows

    found = session.client.nodes()
    if session.output.as_json:
        session.output.json(list(found))
    elif not found:
        session.output.talk("No machine has joined the cluster.")
    else:
        session.output.table(COLUMNS, [row for node in found for row in node_rows(node)], shrink=("DEVICE", "JOBS"))
