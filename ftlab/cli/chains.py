"""`ftlab submit` of a file with several jobs: all are submitted, or none."""

from typing import TYPE_CHECKING

from ftlab.cli.session import Session

if TYPE_CHECKING:
    from ftlab.cli.job_source import JobSource
    from ftlab.schemas import AnyJobConfig, Job


def submit_chain(
    session: Session, sources: "list[JobSource]", idempotency_key: str | None, *, follow: bool, source: str
) -> None:
    """Upload the datasets, submit the jobs, and print their ids; with `follow`, show one after another."""
    from ftlab.cli.follow import detaching, follow_to_end
    from ftlab.cli.submit import dataset_ids

    ids = dataset_ids(session, sources, source)
    jobs = session.client.chains.create([each.with_ids(ids) for each in sources], idempotency_key)
    for job in jobs:
        _report(session, job)
    if session.output.as_json and not follow:
        session.output.json(jobs)
    if not follow:
        session.output.talk("See what each waits for with 'ftlab queue'.")
        return
    ended = []
    for job in jobs:
        session.output.talk(f"Following job {job.name!r}.")
        with detaching(session, job.id):
            ended.append(follow_to_end(session, job, after=0))
    if session.output.as_json:
        session.output.json(ended)


def check_chain(session: Session, sources: "list[JobSource]") -> None:
    """Print what the service checks for each job. Uploads and stores nothing.

    Raises the error with which a submission would be refused.
    """
    from ftlab.cli.dry_run import known_files
    from ftlab.errors import ServiceUnavailableError, UnreachableError

    try:
        ids, problem = known_files(session, sources)
        if problem is not None:
            return _not_checked(session, sources, problem)
        checked = session.client.chains.check([each.with_ids(ids) for each in sources])
    except (ServiceUnavailableError, UnreachableError) as error:
        return _not_checked(session, sources, error.message)
    if session.output.as_json:
        session.output.json({"jobs": checked, "problem": None})
    for place, job in enumerate(checked, start=1):
        session.output.talk(f"Job {place}, {job.name!r} ({job.kind}): checked {', '.join(job.checked)}.")
        if job.after:
            session.output.talk(f"  waits for {', '.join(map(repr, job.after))}")
        for text in job.later:
            session.output.talk(f"  checked once it exists: {text}")
        for text in job.notices:
            session.output.talk(f"  notice: {text}")
    session.output.talk("The jobs are valid; nothing was uploaded or submitted. Quotas are checked at the submission.")
    return None


def _not_checked(session: Session, sources: "list[JobSource]", problem: str) -> None:
    if session.output.as_json:
        session.output.json({"jobs": [_shown(each.config) for each in sources], "problem": problem})
    session.output.talk(f"Not checked by the service: {problem}")
    session.output.talk(
        "The settings of each job are valid; nothing was uploaded or submitted. Not checked: the models, the jobs that "
        "are waited for, datasets on the service, and the devices."
    )


def _shown(config: "AnyJobConfig") -> dict[str, object]:
    return {"name": config.name, "kind": config.kind, "after": config.after}


def _report(session: Session, job: "Job") -> None:
    if job.is_replay:
        session.output.talk(f"This idempotency key was used before, for job {job.name!r}; it is {job.status}.")
    else:
        names = ", ".join(repr(parent.name) for parent in job.parents)
        session.output.talk(f"Job {job.name!r} is in the queue{f' and waits for {names}' if names else ''}.")
    if not session.output.as_json:
        session.output.data(job.id)
