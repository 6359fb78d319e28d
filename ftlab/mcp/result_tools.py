"""Tools that read what jobs have done: lists, logs, metrics, failures, comparisons."""

from typing import Any

from ftlab.client import AsyncClient
from ftlab.formatting import one_line
from ftlab.mcp.arguments import CompareArguments, JobArguments, JobListArguments, LogArguments, MetricsArguments
from ftlab.mcp.tool import tool
from ftlab.mcp.views import CHECKPOINT, JOB_IN_LIST, compact, cut, first, listed, view
from ftlab.schemas import MetricPoint

MAX_LINE = 500
"""Longest line of a log, in characters."""
MAX_ANSWER = 600
MAX_PROMPTS = 5
"""Sample prompts of a comparison whose answers are shown."""
MAIN_METRICS = ("loss", "eval_loss", "final_eval_loss", "reward", "eval_reward", "learning_rate", "tokens_per_s")
ANALYSIS = (
    *("job_id", "status", "step", "total_steps", "num_attempts", "summary", "best", "convergence", "gap", "spikes"),
    *("gradient_norm", "throughput", "time", "earlier_runs"),
)


@tool("List jobs")
async def list_jobs(client: AsyncClient, arguments: JobListArguments) -> dict[str, Any]:
    """List jobs, newest first."""
    jobs = client.jobs.list(arguments.status or None, arguments.limit + 1)
    found, has_more = await first(jobs, arguments.limit)
    return listed("jobs", found, JOB_IN_LIST, has_more=has_more)


@tool("Read the log of a job")
async def job_logs(client: AsyncClient, arguments: LogArguments) -> dict[str, Any]:
    """Read the last lines of a job's log, oldest first."""
    lines = await client.jobs.logs(arguments.job, arguments.tail)
    shown = [f"{line.at:%Y-%m-%d %H:%M:%S} {line.level} {cut(one_line(line.text), MAX_LINE)}" for line in lines]
    return {"lines": shown}


@tool("Read the metrics of a job")
async def job_metrics(client: AsyncClient, arguments: MetricsArguments) -> dict[str, Any]:
    """Read measured values of a job by step, such as `loss` and `eval_loss`; a long series is thinned. `other_names`
    lists the metrics that were not asked for."""
    points = await client.jobs.metrics(arguments.job, None, arguments.max_points)
    series: dict[str, list[MetricPoint]] = {}
    for point in points:
        series.setdefault(point.name, []).append(point)
    wanted = arguments.names or [name for name in MAIN_METRICS if name in series]
    found = {
        name: {"steps": [point.step for point in series[name]], "values": [point.value for point in series[name]]}
        for name in wanted
        if name in series
    }
    missing = [name for name in wanted if name not in series]
    return {
        "metrics": compact(found),
        "other_names": [name for name in series if name not in found],
        **({"missing_names": missing} if missing else {}),
    }


@tool("Find out why a job failed")
async def why_job_failed(client: AsyncClient, arguments: JobArguments) -> dict[str, Any]:
    """Explain why the newest failed attempt of a job failed: the cause, the evidence, suggested changes of the config,
    and the checkpoint to continue from. Then call resume_job with `suggested`, or correct what the cause names."""
    return view(await client.jobs.failure(arguments.job))


@tool("Analyze a job")
async def analyze_job(client: AsyncClient, arguments: JobArguments) -> dict[str, Any]:
    """Analyze how well a job learned and where its time went: best evaluation, course of the loss, overfitting, spikes,
    speed, and earlier jobs with the same model. `summary` has the results in sentences."""
    return view(await client.jobs.analytics(arguments.job), *ANALYSIS)


@tool("Compare jobs")
async def compare_jobs(client: AsyncClient, arguments: CompareArguments) -> dict[str, Any]:
    """Compare two to ten jobs: results, settings that differ, data, and answers to sample prompts. `best` may be
    compared only between jobs of the same `evaluation_group`; `is_best` marks the best of a group."""
    found = await client.jobs.compare(arguments.jobs)
    shown = view(found, "runs", "notes", "settings", "datasets")
    samples = [view(prompt, max_text=MAX_ANSWER) for prompt in found.samples[:MAX_PROMPTS]]
    hidden = len(found.samples) - len(samples)
    return {**shown, "samples": samples, **({"num_more_samples": hidden} if hidden else {})}


@tool("List the checkpoints of a job")
async def list_checkpoints(client: AsyncClient, arguments: JobArguments) -> dict[str, Any]:
    """List the committed checkpoints of a job, newest first. `job:<id>/step-<n>` can be the base model of another job,
    and resume_job continues from one of them by its name."""
    found = await client.jobs.checkpoints(arguments.job)
    return listed("checkpoints", found, CHECKPOINT, has_more=False)
