"""The devices of the service that a job could run on, and whether it fits them."""

from collections import Counter
from dataclasses import dataclass

from cluster.policy import Fleet, shape_of
from ftlab.schemas import Alternative, BaseJobConfig, DeviceEstimate, JobConfig, MemoryParts
from train.device_defaults import has_fast_bfloat16
from train.estimate.alternatives import fitting
from train.estimate.devices import MARGIN, Fit, fit, gpu_capability, gpu_memory
from train.estimate.memory import DeviceTraits, Memory, evaluation_peak, training_peak
from train.estimate.sharding import sharding_in_force, with_sharding
from train.model.shape import ModelShape


@dataclass(frozen=True)
class Pool:
    """Devices of one type."""

    name: str
    number: int
    traits: DeviceTraits
    memory: tuple[int, int] | None
    """Bytes that the job may use of one of them: at least, and at most."""
    processes: int = 1
    """Processes of the job that share one."""

    def fit(self, peak: int) -> Fit:
        """Whether processes of this peak fit."""
        return fit(peak * self.processes, self.memory) if self.memory else Fit.UNKNOWN


def pools_of(config: BaseJobConfig, fleet: Fleet | None) -> list[Pool]:
    """The devices that the scheduler would choose from: GPUs where there are some, unless the config says otherwise."""
    if fleet is None or not fleet.nodes:
        return []
    shape = shape_of(config.resources, fleet)
    if shape.gpus_per_worker:
        gpus = Counter[str | None]()
        for node in fleet.nodes:
            gpus[node.gpu_type] += node.gpus
        return [_gpus(name, number, shape.gpus_per_worker) for name, number in gpus.items() if number]
    machines = Counter(node.memory_bytes for node in fleet.nodes)
    processes = -(-shape.num_workers // len(fleet.nodes))
    traits = DeviceTraits(use_cuda=False, has_fast_bfloat16=has_fast_bfloat16())
    return [
        Pool("CPU", number, traits, (memory, memory) if memory else None, processes)
        for memory, number in machines.items()
    ]


def estimate_pool(
    pool: Pool, model: ModelShape | None, config: JobConfig, length: int, correction: float = 1.0
) -> DeviceEstimate:
    """The peaks on one type of device, and whether they fit; `correction` is measured / computed memory."""
    if model is not None:
        config = with_sharding_on(pool, model, config, length, correction)
    training, evaluation = _peaks(pool, model, config, length) if model else (None, None)
    peak = round(_largest(training, evaluation) * correction) if training else None
    estimate = _on(pool, peak, training, evaluation)
    return estimate.model_copy(update={"message": estimate.message + _shared(config)})


def estimate_evaluation_on(pool: Pool, memory: Memory | None) -> DeviceEstimate:
    """Whether an evaluation with this peak fits one type of device; `None` for a model that cannot be estimated."""
    return _on(pool, memory.total if memory else None, None, memory)


def _on(pool: Pool, peak: int | None, training: Memory | None, evaluation: Memory | None) -> DeviceEstimate:
    found = pool.fit(peak) if peak is not None else Fit.UNKNOWN
    return DeviceEstimate(
        device=pool.name,
        num_devices=pool.number,
        memory_bytes=pool.memory[0] if pool.memory else None,
        processes=pool.processes,
        peak_bytes=peak,
        fits=found,
        message=_sentence(pool, peak, found),
        training=_parts(training),
        evaluation=_parts(evaluation),
    )


def alternatives_on(
    pool: Pool, model: ModelShape, config: JobConfig, length: int, lengths: dict[int, int], correction: float = 1.0
) -> list[Alternative]:
    """The nearest configs that fit the pool."""

    def peak_of(changed: JobConfig, longest: int) -> int:
        in_force = with_sharding_on(pool, model, changed, longest, correction)
        return round(_largest(*_peaks(pool, model, in_force, longest)) * correction)

    return [
        Alternative(
            changes=found.change.changes, device=pool.name, peak_bytes=found.peak_bytes, message=found.change.message
        )
        for found in fitting(config, length, lengths, peak_of, pool.fit)
    ]


def with_sharding_on(
    pool: Pool, model: ModelShape, config: JobConfig, length: int, correction: float = 1.0
) -> JobConfig:
    """The config with the `resources.sharding` that a run on the pool has."""
    return with_sharding(config, sharding_in_force(config, model, length, pool.traits, pool.memory, correction))


def _shared(config: JobConfig) -> str:
    """A sentence about weights that the workers divide among them; empty where each holds all of them."""
    resources = config.resources
    if resources.sharding != "fsdp" or resources.num_workers == 1:
        return ""
    return f" The weights are divided among the {resources.num_workers} workers (fsdp)."


def _peaks(pool: Pool, model: ModelShape, config: JobConfig, length: int) -> tuple[Memory, Memory | None]:
    """The peaks of a training step and of an evaluation, if there is one."""
    evaluation = evaluation_peak(model, config, length, pool.traits) if config.has_evaluation else None
    return training_peak(model, config, length, pool.traits), evaluation


def _largest(training: Memory, evaluation: Memory | None) -> int:
    return max(training.total, evaluation.total if evaluation else 0)


def _gpus(gpu_type: str | None, number: int, share: float) -> Pool:
    memory = gpu_memory(gpu_type)
    scaled = (int(memory[0] * share), int(memory[1] * share)) if memory else None
    return Pool(gpu_type or "GPU", number, DeviceTraits(use_cuda=True, capability=gpu_capability(gpu_type)), scaled)


def _sentence(pool: Pool, peak: int | None, found: Fit) -> str:
    if peak is None:
        return "The memory of this model cannot be estimated."
    needed = _gb(peak * pool.processes)
    if pool.memory is None:
        return f"The job needs about {needed}; the memory of this device is not known."
    least, most = pool.memory
    there = _gb(least) if least == most else f"{_gb(least)} to {_gb(most)}"
    if found is Fit.FITS:
        return f"The job needs about {needed} of {there}."
    if found is Fit.DOES_NOT_FIT:
        return f"The job needs about {needed}, and the device has {there}."
    return (
        f"The job needs about {needed} of {there}, which is too close to call: the estimate may be off by {MARGIN:.0%}."
    )


def _parts(memory: Memory | None) -> MemoryParts | None:
    return MemoryParts.of(memory) if memory else None


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
