"""`ftlab nodes`: the machines, their GPUs, and the jobs on them."""

from typing import Annotated

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.session import Session, command

nodes = typer.Typer(context_settings=CONTEXT)
app.add_typer(nodes, name="nodes")


@command(nodes, is_default=True)
def list_nodes(session: Session) -> None:
    """Show the machines and GPUs, their load, and the jobs on them."""
    from ftlab.cli.device_text import COLUMNS, node_rows

    found = session.client.nodes()
    if session.output.as_json:
        session.output.json(list(found))
    elif not found:
        session.output.talk("No machine has joined the cluster.")
    else:
        rows = [row for node in found for row in node_rows(node)]
        optional = ("POWER", "TEMPERATURE", "MEMORY")
        session.output.table(COLUMNS, rows, shrink=("DEVICE", "STATE", "JOBS"), optional=optional)
        for gpu in (gpu for node in found for gpu in node.gpus_out):
            session.output.talk(f"GPU {gpu.gpu} of {gpu.node} is taken out: {gpu.reason}")


@command(nodes, "restore")
def restore(
    session: Session,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Name of the machine.")],
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The GPU, such as gpu-0.")],
) -> None:
    """Give a GPU that was taken out because of failures to jobs again."""
    session.client.restore_device(node, device)
    session.output.talk(f"Jobs can get {device} of {node} again.")
