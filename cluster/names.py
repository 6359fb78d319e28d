"""Names of the actors, so that any process finds them again, and names of the machines."""

from typing import Any

NAMESPACE = "ftlab"
COORDINATOR = "coordinator"
RUN_PREFIX = "run-"
STANDBY_PREFIX = "standby-"
DATA_WORKER = "data"
EVENT_HUB = "hub"
HEAD_RESOURCE = "node:__internal_head__"
"""The resource that Ray gives only to the machine of its head."""
ON_HEAD = {HEAD_RESOURCE: 0.001}
"""Resources of every process that is not a training worker: it must run on the machine with the record, not on one that
may leave.
"""


def node_names(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """Names of Ray's nodes by their ids: host names, with a part of the id where two machines have the same one."""
    hosts = [node["NodeManagerHostname"] for node in nodes]
    return {
        node["NodeID"]: host if hosts.count(host) == 1 else f"{host}-{node['NodeID'][:6]}"
        for node, host in zip(nodes, hosts, strict=True)
    }
