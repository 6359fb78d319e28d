"""Resolve a submission of any kind: its models are looked up, and its `auto` gets values."""

from dataclasses import replace
from functools import partial

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EvaluationConfig, ExportConfig, JobConfig
from serve.context import CallerContext
from serve.jobs.evaluations.routes import resolve_evaluation
from serve.jobs.exports.routes import resolve_export
from serve.jobs.submission.auto import resolve_auto
from serve.jobs.submission.submit import ResolvedSubmission, Submission, check_training
from serve.models.base_model import ask_huggingface


async def resolve_submission(caller: CallerContext, submission: Submission) -> ResolvedSubmission:
    """Look up the models of a job and resolve its `auto`; `submission.parents` are looked up already.

    Raise what a submission of this kind raises.
    """
    config = submission.config
    if isinstance(config, EvaluationConfig):
        return await resolve_evaluation(caller, submission)
    if isinstance(config, ExportConfig):
        return await resolve_export(caller, submission)
    if not isinstance(config, JobConfig):
        raise InvalidRequestError(f"Jobs of the kind '{config.kind}' cannot be submitted.", "invalid_config", "kind")
    answer = await ask_huggingface(caller.services, submission.parents.existing(config.model))
    found = await resolve_auto(caller, config, answer, submission.parents)
    submission = replace(submission, config=found.config, auto=found.auto)
    return ResolvedSubmission(submission, partial(check_training, caller.services, caller.owner, submission, answer))
