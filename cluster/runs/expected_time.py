"""How long the work of an attempt should take, by what earlier jobs of its owner have measured."""

from cluster.runs.earlier_evaluations import earlier_speeds
from cluster.runs.earlier_runs import earlier_runs
from cluster.runs.evaluated_models import evaluated_models
from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas import EvaluationConfig, JobConfig
from ftlab.settings import Settings
from tracking.store import Transaction
from tracking.store.records import JobRecord
from train.plan import ModelLoaded


def expected_time_s(tx: Transaction, settings: Settings | None, job: JobRecord, loaded: ModelLoaded) -> float | None:
    """Seconds that the tokens of `loaded` should take; `None` where no earlier job measured a speed.

    Without `settings`, there is none for an evaluation.
    """
    config = job.config
    if loaded.num_tokens is None:
        return None
    if isinstance(config, JobConfig):
        speed = earlier_runs(tx, job.owner, config).speed
        return loaded.num_tokens / speed.tokens_per_s if speed else None
    if not isinstance(config, EvaluationConfig) or settings is None:
        return None
    try:
        models = evaluated_models(tx, settings, config.models)
    except (NotFoundError, InvalidRequestError):  # one was deleted or damaged since the plan was made
        return None
    speeds = earlier_speeds(tx, settings, job.owner, config, models)
    return speeds.time_s(loaded.num_tokens, loaded.num_answer_tokens) if speeds else None
