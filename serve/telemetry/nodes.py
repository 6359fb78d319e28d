"""The machines of the service, with their newest samples and the jobs on them. Every function blocks."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from cluster.policy import Node
from cluster.telemetry.samples import Sample
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas.telemetry import HeldDevices, NodeList, NodeStatus
from serve.context import Services
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
    sampled, trains = newest or {}, {node.id: node for node in fleet.nodes} if fleet else {}
    found = [
        _status(node, trains.get(node), *sampled.get(node, (node, None)), _held(node, attempts, jobs, owner))
        for node in {*sampled, *trains}
    ]
    return NodeList(data=sorted(found, key=lambda node: (node.name, node.id)))


def _status(node_id: str, node: Node | None, name: str, sample: Sample | None, jobs: list[HeldDevices]) -> NodeStatus:
    return NodeStatus(
        id=node_id,
        name=name,
        cpus=node.cpus if node else 0,
        gpus=node.gpus if node else 0,
        gpu_type=node.gpu_type if node else None,
        sampled_at=datetime.fromtimestamp(sample.at, UTC) if sample else None,
        host=sample.host if sample else None,
        devices=list(sample.gpus) if sample else [],
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
