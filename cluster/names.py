"""Names of the actors, so that any process finds them again."""

NAMESPACE = "ftlab"
COORDINATOR = "coordinator"
RUN_PREFIX = "run-"
STANDBY_PREFIX = "standby-"
DATA_WORKER = "data"
TELEMETRY = "telemetry"
HEAD_RESOURCE = "node:__internal_head__"
"""The resource that Ray gives only to the machine of its head."""
ON_HEAD = {HEAD_RESOURCE: 0.001}
"""Resources of every process that is not a training worker: it must run on the machine with the record, not on one that
may leave.
"""
