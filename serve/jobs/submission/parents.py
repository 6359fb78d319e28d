"""The jobs that a new job waits for: those in its `after`, and those whose model it names before they have ended."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ftlab.errors import ConflictError, FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.schemas import AnyJobConfig, JobConfig
from ftlab.schemas.base_config import MAX_PARENTS
from ftlab.schemas.lora import LoraConfig
from ftlab.status import JobStatus
from serve.context import Services
from tracking.store import Transaction
from tracking.store.records import JobRecord, UnreadableConfig


@dataclass(frozen=True)
class Parent:
    """A job that another one waits for: one of the database, or an earlier one of the same chain file."""

    id: str
    name: str
    config: AnyJobConfig | UnreadableConfig

    @property
    def model(self) -> str:
        """The reference of the model that it delivers."""
        return str(ModelRef("job", self.id))


@dataclass(frozen=True)
class Expected:
    """A model that does not exist yet, and what is known about it."""

    parent: Parent
    """The job that delivers it."""
    root: str
    """Reference of the model that its training goes back to, which exists."""
    adapter: LoraConfig | None
    """The settings of the adapter that will be delivered; `None` where whole weights will be."""
    scores_texts: bool
    """Whether it will be a reward model."""


@dataclass(frozen=True)
class Parents:
    """What a new job waits for."""

    jobs: tuple[Parent, ...] = ()
    expected: Mapping[str, Expected] = field(default_factory=dict)
    """By reference in its config: the models that it waits for."""

    @property
    def ids(self) -> list[str]:
        return [parent.id for parent in self.jobs]

    def existing(self, model: str) -> str:
        """The reference itself, or that of the existing model which the training of this one goes back to."""
        return self.expected[model].root if model in self.expected else model


@dataclass(frozen=True)
class Siblings:
    """The other jobs of the same chain file, which are found by their names before those of the database."""

    earlier: Mapping[str, Parent] = field(default_factory=dict)
    own: str | None = None
    later: Collection[str] = ()

    def find(self, name: str, param: str) -> Parent | None:
        """The earlier job of this name; `None` where the file has none of this name.

        Raise `InvalidRequestError` for the job itself and for a later one: a job waits only for those before it.
        """
        if name in self.earlier:
            return self.earlier[name]
        if name == self.own:
            raise InvalidRequestError(
                f"{param} names the job itself; name another job, or the id of an older one of the same name.",
                "invalid_config",
                param,
            )
        if name in self.later:
            raise InvalidRequestError(
                f"{param} names a job that comes later in the chain; put that job before this one.",
                "invalid_config",
                param,
            )
        return None


NO_PARENTS = Parents()
NO_SIBLINGS = Siblings()


def names_jobs(config: AnyJobConfig) -> bool:
    """Whether a config may name a job to wait for."""
    return bool(config.after) or any(model.startswith("job:") for model in config.named_models.values())


def find_parents(services: Services, owner: str, config: AnyJobConfig, siblings: Siblings = NO_SIBLINGS) -> Parents:
    """Look up the jobs that a new job waits for. Blocks on the store.

    Raise `NotFoundError` (`job_not_found`) and `ConflictError` (`ambiguous`) for a name in `after`, and
    `InvalidRequestError` for a job that delivers no model, and for more than `MAX_PARENTS` jobs.
    """
    if not names_jobs(config):
        return NO_PARENTS
    with services.store.read() as tx:
        lookup = _Lookup(tx, owner, siblings)
        jobs = {parent.id: parent for parent in (lookup.awaited(name) for name in config.after)}
        expected = {}
        for name, model in config.named_models.items():
            if (found := lookup.expected(name, model, jobs.keys())) is not None:
                expected[model] = found
                jobs.setdefault(found.parent.id, found.parent)
    if len(jobs) > MAX_PARENTS:
        raise InvalidRequestError(
            f"after must have at most {MAX_PARENTS} items; with the jobs whose models are named, it has {len(jobs)}.",
            "invalid_config",
            "after",
        )
    return Parents(tuple(jobs.values()), expected)


class _Lookup:
    def __init__(self, tx: Transaction, owner: str, siblings: Siblings) -> None:
        self._tx = tx
        self._owner = owner
        self._siblings = siblings
        self._by_id = {parent.id: parent for parent in siblings.earlier.values()}

    def awaited(self, name: str) -> Parent:
        """The job that `after` names."""
        if (sibling := self._siblings.find(name, "after")) is not None:
            return sibling
        try:
            return _parent(self._tx.jobs.resolve(name, owner=self._owner, by_prefix=False))
        except NotFoundError as error:  # without the value: no error repeats what a body holds
            raise NotFoundError("after: there is no job with this id or name.", error.code, "after") from None
        except ConflictError as error:
            raise ConflictError(error.message, error.code, "after") from None

    def expected(self, field_name: str, model: str, awaited: Collection[str]) -> Expected | None:
        """The model that a job delivers which has not ended; `None` for a model that has to exist already."""
        try:
            ref = parse_model_ref(model)
        except InvalidRequestError:
            return None  # the check of the model says what is wrong
        if ref.kind != "job":
            return None
        if (sibling := self._siblings.find(ref.id, field_name)) is not None:
            if ref.step is not None:
                raise InvalidRequestError(
                    f"{field_name} names a checkpoint of a job that has not run yet; leave out '/step-...' to take the "
                    "model that it delivers.",
                    "invalid_config",
                    field_name,
                )
            return self._expect(sibling, field_name)
        if ref.step is not None:
            return None
        try:
            record = self._tx.jobs.resolve(ref.id, owner=self._owner, by_prefix=False)
        except FineTuneLabError:
            return None  # as above
        return self._expect(_parent(record), field_name) if self._is_open(record, awaited) else None

    def _is_open(self, record: JobRecord, awaited: Collection[str]) -> bool:
        """Whether the model of a job is waited for: it has none, and has not ended, or `after` names the job."""
        if record.status is JobStatus.COMPLETED:
            return False
        return record.id in awaited or (not record.status.is_terminal and self._tx.models.of_job(record.id) is None)

    def _expect(self, parent: Parent, field_name: str) -> Expected:
        config = parent.config
        if not isinstance(config, JobConfig):
            raise InvalidRequestError(
                f"{field_name} names job {parent.name!r} ({parent.id}), which delivers no model; put it into 'after' "
                "to wait for it.",
                "invalid_config",
                field_name,
            )
        before = self._parent_of_model(config)
        root = config.model if before is None else self._expect(before, field_name).root
        adapter = config.lora if config.tuning == "lora" else None
        return Expected(parent, root, adapter, config.method.scores_texts)

    def _parent_of_model(self, config: JobConfig) -> Parent | None:
        """The job that the model of a config comes from, where the job of this config waits for it as well."""
        ref = parse_model_ref(config.model)
        if ref.kind != "job" or ref.step is not None or ref.id not in config.after:
            return None
        if ref.id in self._by_id:
            return self._by_id[ref.id]
        if not self._tx.jobs.exists(ref.id):
            return None  # the check of the model says so
        record = self._tx.jobs.get(ref.id)
        return None if record.status is JobStatus.COMPLETED else _parent(record)


def _parent(record: JobRecord) -> Parent:
    return Parent(record.id, record.name, record.config)
