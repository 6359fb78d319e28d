"""Tools that estimate, submit and control jobs."""

from typing import Any

from ftlab.client import AsyncClient
from ftlab.errors import WaitTimeoutError
from ftlab.mcp.arguments import (
    ConfigArguments,
    JobArguments,
    ListArguments,
    NoArguments,
    ResumeArguments,
    SettingsArguments,
    SubmitArguments,
    TemplateArguments,
    WaitArguments,
)
from ftlab.mcp.job_settings import settings_schema
from ftlab.mcp.tool import Effect, tool
from ftlab.mcp.views import JOB, compact, view
from ftlab.schemas import EventKind, Job, JobConfig, JobEstimate, NoticePayload
from ftlab.schemas.accounts import Scope
from ftlab.schemas.events import AUTO_RESOLVED
from ftlab.schemas.job_file import parse_job_config, short_document
from ftlab.schemas.templates import merged
from ftlab.status import JobStatus

ESTIMATE = (
    *("model", "rows", "steps", "tokens", "time_s", "measured_job_id", "cost", "currency", "peak_length"),
    *("alternatives", "checkpoints_bytes", "num_checkpoints", "delivered_bytes", "notes"),
)
DEVICE = ("device", "num_devices", "fits", "message", "peak_bytes", "memory_bytes", "cost_per_hour")


@tool("Describe the settings of a job")
async def describe_settings(client: AsyncClient, arguments: SettingsArguments) -> dict[str, Any]:
    """Describe one group of the settings of a job as a JSON schema, with the meaning, default and bounds of each."""
    return settings_schema(arguments.group)


@tool("List templates")
async def list_templates(client: AsyncClient, arguments: NoArguments) -> dict[str, Any]:
    """List templates: proven settings for a purpose, to which a job's config adds at least a model and a dataset."""
    found = await client.templates.list()
    return {"templates": [view(template, "name", "owner", "description") for template in found]}


@tool("Show a template")
async def show_template(client: AsyncClient, arguments: TemplateArguments) -> dict[str, Any]:
    """Show the settings of a template, with its comments."""
    return view(await client.templates.get(arguments.template), "name", "owner", "text", max_text=10_000)


@tool("Estimate a job")
async def estimate_job(client: AsyncClient, arguments: ConfigArguments) -> dict[str, Any]:
    """Estimate what a job would need before it is submitted: memory on each kind of device and whether it fits, steps,
    tokens, disk, and, where an earlier job has measured them, time and cost. Refuses what a submission refuses. Where
    the job does not fit, `alternatives` are changes of the config with which it would. Stores nothing."""
    return _estimate(await client.jobs.estimate(await _config(client, arguments)))


@tool("Submit a job", scope=Scope.TRAIN, effect=Effect.ADDS)
async def submit_job(client: AsyncClient, arguments: SubmitArguments) -> dict[str, Any]:
    """Submit a fine-tuning job, which uses devices for minutes to days, and return it with its id. Check the dataset
    and estimate the job first. With `dry_run`, only return the settings that differ from their defaults and the
    estimate. Next: wait_for_job."""
    config = await _config(client, arguments)
    if arguments.dry_run:
        estimate = _estimate(await client.jobs.estimate(config))
        return {"submitted": False, "settings": short_document(config), "estimate": estimate}
    job = await client.jobs.create(config, arguments.idempotency_key)
    return {"submitted": not job.is_replay, **_job(job), "notices": await _notices(client, job)}


@tool("Show a job")
async def get_job(client: AsyncClient, arguments: JobArguments) -> dict[str, Any]:
    """Show one job: its status, progress and losses, what it waits for, its config, and the tuned model once it is
    completed."""
    job = await client.jobs.get(arguments.job)
    return {**_job(job), "config": job.config, "adjustments": [change.sentence for change in job.adjustments]}


@tool("Wait for a job")
async def wait_for_job(client: AsyncClient, arguments: WaitArguments) -> dict[str, Any]:
    """Wait until a job has ended or is paused, at most `wait_s` seconds, and return it. While `has_ended` is false,
    call again, with pauses for a long job. After a failure, call why_job_failed; after a success, analyze_job."""
    try:
        job = await client.jobs.wait(arguments.job, arguments.wait_s, raise_on_failure=False, until=JobStatus.PAUSED)
    except WaitTimeoutError:
        job = await client.jobs.get(arguments.job)
    return {"has_ended": job.status.is_terminal, **_job(job)}


@tool("Cancel a job", scope=Scope.TRAIN, effect=Effect.DESTROYS)
async def cancel_job(client: AsyncClient, arguments: JobArguments) -> dict[str, Any]:
    """Cancel a job that has not ended. Its checkpoints are kept, so that resume_job can continue it. To free its
    devices for a while, use pause_job. Ask the user first, unless you submitted the job for them."""
    return _job(await client.jobs.cancel(arguments.job))


@tool("Pause a job", scope=Scope.TRAIN, effect=Effect.ADDS)
async def pause_job(client: AsyncClient, arguments: JobArguments) -> dict[str, Any]:
    """Pause a job: it saves a checkpoint and releases its devices. resume_job continues it."""
    return _job(await client.jobs.pause(arguments.job))


@tool("Resume a job", scope=Scope.TRAIN, effect=Effect.ADDS)
async def resume_job(client: AsyncClient, arguments: ResumeArguments) -> dict[str, Any]:
    """Put a paused, failed or cancelled job back into the queue; it continues from its newest intact checkpoint. After
    why_job_failed, `suggested` makes the first suggestion; `config_adjustments` makes changes of your own."""
    job = await client.jobs.resume(
        arguments.job,
        arguments.checkpoint,
        config_adjustments=arguments.config_adjustments,
        suggested=arguments.suggested,
        original=arguments.original,
    )
    return {**_job(job), "adjustments": [change.sentence for change in job.adjustments]}


@tool("Delete a job", scope=Scope.TRAIN, effect=Effect.DESTROYS)
async def delete_job(client: AsyncClient, arguments: JobArguments) -> dict[str, Any]:
    """Delete a job that has ended, with its checkpoints, logs and tuned model. This cannot be undone: ask the user
    first."""
    found = await client.jobs.get(arguments.job)
    await client.jobs.delete(found.id)
    return {"deleted": found.id}


@tool("Show the queue")
async def show_queue(client: AsyncClient, arguments: ListArguments) -> dict[str, Any]:
    """Show the running jobs, the waiting jobs in their order with what each waits for, and the devices of the service
    by type: how many there are and how many are free."""
    queue = await client.queue(limit=arguments.limit)
    devices = await client.devices()
    names = ("job_id", "name", "status", "step", "total_steps", "eta_s", "cpus", "gpus")
    return {
        "running": [view(entry, *names) for entry in queue.running],
        "queued": [view(entry, "position", "job_id", "name", "priority", "waiting_for") for entry in queue.queued],
        "num_queued": queue.num_queued,
        "waiting_for": queue.waiting_for,
        "devices": [view(device) for device in devices],
    }


async def _config(client: AsyncClient, arguments: ConfigArguments) -> JobConfig:
    """The checked config, over the settings of the template. Raises `InvalidRequestError` with the fields at fault."""
    document = arguments.config
    if arguments.template is not None:
        document = merged((await client.templates.get(arguments.template)).config, document)
    return parse_job_config(document, "config")


def _job(job: Job) -> dict[str, Any]:
    chosen = {name: choice.value for name, choice in job.auto.items()}
    return {**view(job, *JOB), **({"chosen_by_the_service": chosen} if chosen else {})}


async def _notices(client: AsyncClient, job: Job) -> list[str]:
    """What a user should know of a new job, such as that its base model could not be looked up."""
    if job.is_replay or job.last_seq <= 1:
        return []
    payloads = [event.payload async for event in client.jobs.events(job.id, kinds=EventKind.NOTICE)]
    return [
        payload.message for payload in payloads if isinstance(payload, NoticePayload) and payload.code != AUTO_RESOLVED
    ]


def _estimate(estimate: JobEstimate) -> dict[str, Any]:
    chosen = {name: choice.value for name, choice in estimate.auto.items()}
    devices = [view(device, *DEVICE) for device in estimate.devices]
    found: dict[str, Any] = compact({**view(estimate, *ESTIMATE), "devices": devices, "chosen_by_the_service": chosen})
    return found
