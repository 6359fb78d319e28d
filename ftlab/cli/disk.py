"""`ftlab disk`: what takes up the disk of the service."""

from ftlab.cli.app import app
from ftlab.cli.session import Session, command


@command(app)
def disk(session: Session) -> None:
    """Show what takes up the disk: by kind, for an admin by owner, and your jobs with the largest checkpoints."""
    from ftlab.formatting import size

    found = session.client.disk()
    if session.output.as_json:
        session.output.json(found)
        return
    shown = [*found.data, *found.others]
    rows = [(use.kind.value, use.owner or "all", use.num, size(use.size_bytes)) for use in shown]
    session.output.table(("KIND", "OWNER", "NUMBER", "SIZE"), rows)
    if found.jobs:
        session.output.table(
            ("JOB", "NAME", "CHECKPOINTS", "SIZE"),
            [(job.job_id, job.name, job.num_checkpoints, size(job.size_bytes)) for job in found.jobs],
            shrink=("NAME",),
        )
    session.output.talk(f"{size(found.free_bytes)} of {size(found.total_bytes)} are free.")
