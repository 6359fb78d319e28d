"""`/api/training/chains`: several jobs in one request, each with the ones before it, all or none."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ftlab.errors import FineTuneLabError, InvalidRequestError
from ftlab.schemas import AnyJobConfig, BaseJobConfig
from ftlab.schemas.job_kinds import submitted_class
from ftlab.schemas.replies import ChainCheck, CheckedJob, JobList
from ftlab.schemas.requests import ChainRequest
from serve.context import Caller, CallerContext, Services
from serve.http.json_body import JsonBody, JsonRoute, validate
from serve.http.query import IdempotencyKey
from serve.http.responses import in_thread, reply
from serve.jobs.resolve_submission import resolve_submission
from serve.jobs.submission.parents import Parent, Siblings, find_parents
from serve.jobs.submission.submit import Completion, NewJob, Submission, Submitted, add_all, completed, replay
from tracking.store.ids import new_id

router = APIRouter(prefix="/api/training/chains", tags=["jobs"], route_class=JsonRoute)

KEY_OF_NEXT = "{key}\t{place}"
"""Idempotency keys of the jobs after the first one. No key that a caller sends has a tab."""


@dataclass(frozen=True)
class _Checked:
    """A job of a chain that only has to be added."""

    submission: Submission
    complete: Completion
    new: NewJob
    """What its record would say now."""


@router.post("", status_code=201, response_model=JobList, summary="Submit several jobs that wait for each other")
async def create_chain(
    request: Request, caller: Caller, chain: JsonBody[ChainRequest], idempotency_key: IdempotencyKey = None
) -> Response:
    """All jobs are added in one transaction, or none. A job may name those before it by `name`, in `after` and as
    `job:NAME` in `model` or `models`.
    """
    configs = _configs(chain)
    body = await request.body()
    keyed = [Submission(config, body, _key(idempotency_key, place)) for place, config in enumerate(configs)]
    if (earlier := await caller.call(_replay, keyed)) is not None:
        return reply(JobList(data=[each.job for each in earlier]), 201, {"idempotent-replay": "true"})
    checked = await _check(caller, keyed)
    made, is_replay = await caller.call(_add_once, checked)
    headers = {"idempotent-replay": "true"} if is_replay else {}
    background = None if is_replay else caller.services.new_job_announcement(caller.owner)
    return reply(JobList(data=[each.job for each in made]), 201, headers, background)


@router.post("/check", response_model=ChainCheck, summary="Check several jobs that wait for each other")
async def check_chain(request: Request, caller: Caller, chain: JsonBody[ChainRequest]) -> Response:
    """What a submission checks, except for quotas; nothing is stored. The reply says what can only be checked later."""
    body = await request.body()
    checked = await _check(caller, [Submission(config, body) for config in _configs(chain)])
    return reply(ChainCheck(data=[_report(each) for each in checked]))


def _configs(chain: ChainRequest) -> list[AnyJobConfig]:
    """The configs, each checked by the rules of its kind. Raise `InvalidRequestError` that says which is wrong."""
    configs: list[AnyJobConfig] = []
    for place, document in enumerate(chain.jobs):
        try:
            configs.append(validate(submitted_class(document), json.dumps(document)))
        except FineTuneLabError as error:
            raise _at(error, place) from None
    names = [config.name for config in configs if config.name is not None]
    for place, config in enumerate(configs):
        if config.name is not None and names.count(config.name) > 1:
            raise InvalidRequestError(
                f"jobs.{place}.name is that of another job of the chain too; give each a name of its own.",
                "invalid_config",
                f"jobs.{place}.name",
            )
    return configs


async def _check(caller: CallerContext, submissions: Sequence[Submission]) -> list[_Checked]:
    """Check each job as a submission does, with those before it as if they had been submitted."""
    earlier: dict[str, Parent] = {}
    found: list[_Checked] = []
    for place, submission in enumerate(submissions):
        own = submission.config.name
        later = {each.config.name for each in submissions[place + 1 :] if each.config.name is not None}
        try:
            checked = await _check_one(caller, submission, Siblings(dict(earlier), own, later))
        except FineTuneLabError as error:
            raise _at(error, place) from None
        found.append(checked)
        if own is not None:
            job_id = checked.submission.job_id
            assert job_id is not None
            earlier[own] = Parent(job_id, own, checked.new.config)
    return found


async def _check_one(caller: CallerContext, submission: Submission, siblings: Siblings) -> _Checked:
    parents = await caller.call(find_parents, submission.config, siblings)
    resolved = await resolve_submission(caller, replace(submission, parents=parents, job_id=new_id("job")))
    complete = await in_thread(resolved.check)
    return _Checked(resolved.submission, complete, await caller.call(_new_job, resolved.submission, complete))


def _new_job(services: Services, _: str, submission: Submission, complete: Completion) -> NewJob:
    with services.store.read() as tx:
        return completed(tx, submission, complete)


def _add_once(services: Services, owner: str, checked: Sequence[_Checked]) -> tuple[list[Submitted], bool]:
    """Add the jobs; return whether an earlier request with the same key had added them meanwhile."""
    try:
        return add_all(services, owner, [(each.submission, each.complete) for each in checked]), False
    except FineTuneLabError:
        if (earlier := _replay(services, owner, [each.submission for each in checked])) is not None:
            return earlier, True
        raise


def _replay(services: Services, owner: str, submissions: Sequence[Submission]) -> list[Submitted] | None:
    """The jobs of an earlier request with the same idempotency key; `None` for a new key, or none."""
    found = [replay(services, owner, submission) for submission in submissions]
    return [each for each in found if each is not None] if all(found) else None


def _key(key: str | None, place: int) -> str | None:
    return key if key is None or place == 0 else KEY_OF_NEXT.format(key=key, place=place)


def _report(checked: _Checked) -> CheckedJob:
    config, parents = checked.new.config, checked.submission.parents
    assert isinstance(config, BaseJobConfig)
    given = checked.submission.config.named_models.values()
    existing = [parents.existing(model) for model in given]
    return CheckedJob(
        name=config.name or checked.new.name,
        kind=config.kind,
        after=[parent.name for parent in parents.jobs],
        checked=[
            "its settings",
            *(f"model {model}" for model in dict.fromkeys(existing)),
            *(f"dataset {dataset}" for dataset in config.datasets),
            "its devices",
        ],
        later=[f"the model that job {each.parent.name!r} delivers" for each in parents.expected.values()],
        notices=[notice.message for notice in checked.new.notices],
    )


def _at(error: FineTuneLabError, place: int) -> FineTuneLabError:
    """The same error with the job that it is about."""
    param = f"jobs.{place}.{error.param}" if error.param else f"jobs.{place}"
    return type(error)(f"jobs.{place}: {error.message}", error.code, param)
