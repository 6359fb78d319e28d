"""Names of the actors, so that any process finds them again."""

NAMESPACE = "ftlab"
COORDINATOR = "coordinator"
RUN_PREFIX = "run-"
STANDBY_PREFIX = "standby-"
DATA_WORKER = "data"
HEAD_RESOURCE = "node:__internal_head__"
"""What Ray gives to the machine of its head alone."""
ON_HEAD = {HEAD_RESOURCE: 0.001}
"""Resources of every process that is not a training worker: it belongs to where the record is, and must not go with
a machine that may leave."""
