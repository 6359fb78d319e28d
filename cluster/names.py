"""Names of the actors, so that any process finds them again."""

NAMESPACE = "ftlab"
COORDINATOR = "coordinator"
RUN_PREFIX = "run-"
STANDBY_PREFIX = "standby-"
DATA_WORKER = "data"
