"""The machines of the service, with their newest samples and the jobs on them. Every function blocks."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from cluster.policy import Node
from cluster.telemetry.samples import Sample
from ftlab.errors import NotFoundError, ServiceUnavailableError
from ftlab.schemas.telemetry import GpuOut, HeldDevices, NodeList, NodeStatus
from serve.context import Services
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, JobRecord


def read_nodes(services: Services, owner: str) -> NodeList:
    """All machines by name. Jobs of other owners have neither id nor name.

    Raises `ServiceUnavailableError` while nothing knows the machines.
    """
    newest, fleet = services.telemetry.newest(), services.coordinator.machines()
    if newest is None and fleet is None:
        raise ServiceUnavailableError(
            "The machines are not known while neither the scheduler nor the telemetry process answers. Both are "
            "restarted automatically: try again in a few seconds.",
            "nodes_unavailable",
        )
    with services.store.read() as tx:
        attempts = tx.attempts.live()
        jobs = {job.id: job for job in tx.jobs.live()} if attempts else {}
        out = gpus_out(tx)
    sampled = newest or {}
    trains = {node.id: node for node in fleet.nodes} if fleet else {}
    found = []
    for node_id in {*sampled, *trains}:
        known = trains[node_id].name if node_id in trains else ""
        name, sample = sampled.get(node_id, (known or node_id, None))
        node = trains.get(node_id, Node(node_id, cpus=0, gpus=0)) if fleet else None
        status = _status(node_id, name, node, sample, _held(node_id, attempts, jobs, owner))
        found.append(status.model_copy(update={"gpus_out": [gpu for gpu in out if gpu.node == name]}))
    return NodeList(data=sorted(found, key=lambda status: (status.name, status.id)))


def restore_gpu(services: Services, owner: str, node: str, device: str) -> None:
    """Give a GPU that was taken out to jobs again. Raises `NotFoundError` where it is not out."""
    with services.store.begin() as tx:
        if not tx.device_faults.restore(node, int(device.removeprefix("gpu-"))):
            raise NotFoundError(f"No device {device!r} of {node!r} is taken out.", "device_not_out", "device")


def gpus_out(tx: Transaction) -> list[GpuOut]:
    """The GPUs that are taken out."""
    return [GpuOut(**vars(gpu)) for gpu in tx.device_faults.out()]


def _status(node_id: str, name: str, node: Node | None, sample: Sample | None, jobs: list[HeldDevices]) -> NodeStatus:
    """`node` is what the scheduler knows of the machine; without it, GPUs are those that were sampled."""
    devices = list(sample.gpus) if sample else []
    return NodeStatus(
        id=node_id,
        name=name,
        cpus=node.cpus if node else None,
        gpus=node.gpus if node else len(devices),
        gpu_type=node.gpu_type if node else None,
        sampled_at=datetime.fromtimestamp(sample.at, UTC) if sample else None,
        host=sample.host if sample else None,
        devices=devices,
        jobs=jobs,
    )


def _held(node_id: str, attempts: Sequence[AttemptRecord], jobs: dict[str, JobRecord], owner: str) -> list[HeldDevices]:
    found = []
    for attempt in attempts:
        num_workers = Counter(node for node, _ in attempt.placement)
        if not num_workers[node_id]:
            continue
        job = jobs.get(attempt.job_id)
        is_own = job is not None and job.owner == owner
        found.append(
            HeldDevices(
                job_id=attempt.job_id if is_own else None,
                job_name=job.name if job is not None and is_own else None,
                cpus=attempt.cpus * num_workers[node_id] // num_workers.total(),
                gpus=_gpus(attempt, node_id),
            )
        )
    return found


def _gpus(attempt: AttemptRecord, node_id: str) -> list[int]:
    """The GPUs that Ray gave to the processes; until they are up, those that the scheduler planned."""
    given = {gpu for node, gpus in attempt.process_devices if node == node_id for gpu in gpus}
    planned = {gpu for node, gpu in attempt.placement if node == node_id and gpu is not None}
    return sorted(given or planned)
