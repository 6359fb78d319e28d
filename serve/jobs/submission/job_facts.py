"""What is known about a job before it is submitted: its checked config, its model, rows to count, and the devices."""

from dataclasses import dataclass

from cluster.data.requests import LengthsRequest, base_ref, source_file
from cluster.policy import Fleet
from cluster.runs.earlier_runs import EarlierMeasurements, earlier_runs
from ftlab.schemas import JobConfig
from serve.context import Services
from serve.jobs.submission.job_datasets import with_ids
from serve.jobs.submission.parents import NO_PARENTS, Parents
from serve.jobs.submission.preflight import model_facts, preflight
from serve.models.base_model import HubAnswer, check
from train.data.split_spec import SplitSpec
from train.model.files import ModelFacts
from train.model.shape import ModelShape


@dataclass(frozen=True)
class JobFacts:
    """What an estimate, and the values of `auto`, are computed from besides the lengths of the rows."""

    config: JobConfig
    model: ModelFacts | None
    """Of the base model; `None` where its files do not say."""
    lengths: LengthsRequest
    fleet: Fleet | None
    """`None` while the scheduler does not respond."""
    earlier: EarlierMeasurements

    @property
    def shape(self) -> ModelShape | None:
        """`None` for a model whose memory cannot be estimated."""
        return self.model.shape if self.model else None


def job_facts(
    services: Services, owner: str, config: JobConfig, answer: HubAnswer, parents: Parents = NO_PARENTS
) -> JobFacts:
    """Check the config as a submission does, and gather what is known. Blocks on the store.

    `answer` is about the model that exists already, where the one of the job does not.
    """
    model = check(parents.existing(config.model), services.settings, answer)
    start = preflight(services, owner, config, model, parents.expected.get(config.model))
    with services.store.read() as tx:
        config, datasets = with_ids(tx, owner, start.config)
        base = base_ref(tx, services.settings, start.existing, start.model.revision)
        files = tuple(source_file(services.settings, dataset) for dataset in datasets)
        earlier = earlier_runs(tx, owner, config.model_copy(update={"model": start.existing}))
    lengths = LengthsRequest(base, config.method, files, SplitSpec.of(config))
    facts = model_facts(services, start.model, start.tuned)
    return JobFacts(config, facts, lengths, services.coordinator.machines(), earlier)
