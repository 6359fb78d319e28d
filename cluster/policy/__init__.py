"""The scheduling policy: pure functions over the queue, the running jobs and the machines; no clock, no database, no
Ray.
"""

from cluster.policy.decide import decide, why_too_large
from cluster.policy.fleet import (
    Devices,
    Fleet,
    Node,
    Placement,
    Spot,
    WorkerShape,
    gpus_by_type,
    node_labels,
    on_nodes,
    shape_of,
)
from cluster.policy.jobs import (
    Decision,
    Preempt,
    QueuedJob,
    Refuse,
    Rules,
    RunningJob,
    Share,
    Situation,
    Start,
    Wait,
)
from cluster.policy.order import fair_order

__all__ = [
    "Decision",
    "Devices",
    "Fleet",
    "Node",
    "Placement",
    "Preempt",
    "QueuedJob",
    "Refuse",
    "Rules",
    "RunningJob",
    "Share",
    "Situation",
    "Spot",
    "Start",
    "Wait",
    "WorkerShape",
    "decide",
    "fair_order",
    "gpus_by_type",
    "node_labels",
    "on_nodes",
    "shape_of",
    "why_too_large",
]
