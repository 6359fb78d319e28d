"""Give the settings of a job that are `auto` their values, before it is submitted or estimated.

They are resolved once, when the job is submitted, and stored with it: every attempt on every device uses them.
"""

from dataclasses import replace

from cluster.data.requests import LengthsRequest
from cluster.policy import Fleet, shape_of
from cluster.runs.earlier_runs import memory_ratio
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import JobConfig, SftMethod
from ftlab.schemas.auto import auto_settings, is_auto
from serve.context import Caller, Services
from serve.http.responses import in_thread
from serve.jobs.submission.device_pools import pools_of
from serve.jobs.submission.job_facts import JobFacts, job_facts
from serve.jobs.submission.parents import NO_PARENTS, Parents
from serve.jobs.submission.submit import check_size
from serve.models.base_model import HubAnswer
from train.auto.facts import Device, Facts, Lengths
from train.auto.resolve import NEEDS_DEVICES, NEEDS_LENGTHS, Resolved, resolve, stand_in

LONGEST = 1_048_576
"""Tokens to which rows are cut before their lengths are known: the bound of `method.max_length`."""


async def resolve_auto(caller: Caller, config: JobConfig, answer: HubAnswer, parents: Parents = NO_PARENTS) -> Resolved:
    """The config with a value for each `auto`, and the reasons; a config without `auto` stays as it is.

    Where the model of the job does not exist yet, the values follow from the one that its training goes back to.

    Raise what a submission raises; `ServiceUnavailableError` while the rows cannot be counted or the devices are not
    known, where a value depends on them; and what `train.auto.resolve.resolve` raises.
    """
    names = set(auto_settings(config))
    if not names:
        return Resolved(config)
    job = await caller.call(job_facts, stand_in(config), answer, parents)
    lengths = None
    if names & NEEDS_LENGTHS:
        lengths = Lengths.of(await caller.services.data.row_lengths(_uncut(job.lengths, config)))
    facts = Facts(job.shape, _max_positions(job), lengths)
    if names & NEEDS_DEVICES:
        facts = await caller.call(_with_devices, job, facts)
    # The rules see the adapter that the job continues, with which the submission replaces the defaults again.
    found = await in_thread(resolve, config.model_copy(update={"lora": job.config.lora}), facts)
    return replace(found, config=found.config.model_copy(update={"lora": config.lora}))


def _uncut(request: LengthsRequest, config: JobConfig) -> LengthsRequest:
    """The request for the lengths of the rows one by one, not packed; cut only where `max_length` is given."""
    method = request.method
    changes: dict[str, object] = {}
    if isinstance(method, SftMethod):
        changes["packing"] = False
    if is_auto(config.method.max_length) or (isinstance(method, SftMethod) and method.packing):
        changes["max_length"] = LONGEST
    return replace(request, method=method.model_copy(update=changes))


def _max_positions(job: JobFacts) -> int | None:
    return job.model.layers.max_positions if job.model and job.model.layers else None


def _with_devices(services: Services, owner: str, job: JobFacts, facts: Facts) -> Facts:
    """The facts with every kind of device that the job may get, and what an earlier job measured there.

    Raise `InvalidRequestError` for a job that no machine can run, and `ServiceUnavailableError` while no device is
    known.
    """
    config, fleet = job.config, job.fleet
    check_size(services, config.resources)
    pools = pools_of(config, fleet)
    if fleet is None or not pools:
        raise ServiceUnavailableError(
            "The devices are not known, because the scheduler does not respond; try again in a moment, or give the "
            "settings values instead of 'auto'."
        )
    cores = _cores(config, fleet)
    devices = tuple(Device(pool.name, pool.traits, pool.memory, pool.processes, cores) for pool in pools)
    if facts.shape is None:
        return replace(facts, devices=devices)
    with services.store.read() as tx:
        ratio = memory_ratio(tx, owner, config, facts.shape, devices[0].traits)
    return replace(facts, devices=devices, correction=ratio or 1.0)


def _cores(config: JobConfig, fleet: Fleet) -> int:
    """CPU cores that one training process may use: beside a GPU, the machine's cores by the number of its GPUs."""
    shape = shape_of(config.resources, fleet)
    if config.resources.cpus_per_worker or not shape.gpus_per_worker:
        return shape.cpus_per_worker
    return min(node.cpus // node.gpus for node in fleet.nodes if node.gpus)
