"""What the configs of all kinds of jobs have in common: a name, devices, and how the queue treats the job."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ftlab.schemas.common import DEFAULT_PRIORITY, Name, StrictModel
from ftlab.schemas.costs import Amount

GPU_SHARES = (0, 0.25, 0.5, 1)
YEAR_S = 31_536_000


def _is_a_gpu_share(value: float) -> float:
    if value not in GPU_SHARES:
        raise ValueError("must be 0, 0.25, 0.5 or 1")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


MAX_PARENTS = 20

JobName = Annotated[str, Field(min_length=1, max_length=200)]
"""An id or a unique name; a job keeps the id."""
OneOrMoreJobs = Annotated[
    list[JobName],
    BeforeValidator(_as_list, json_schema_input_type=JobName | list[JobName]),
    Field(max_length=MAX_PARENTS),
]

GpuShare = Annotated[float, AfterValidator(_is_a_gpu_share), Field(json_schema_extra={"enum": list(GPU_SHARES)})]


class Resources(StrictModel):
    """Devices for the job: GPUs where the machine has them, else CPU cores."""

    num_workers: int = Field(default=1, ge=1, le=1024)
    """Training processes; more than one trains data-parallel: each on a part of the rows of a step."""
    gpus_per_worker: GpuShare | None = None
    """Default: 1 on a machine with GPUs, else 0. A share of a GPU is for one worker only: NCCL, which connects several,
    refuses two on one GPU."""
    cpus_per_worker: int | None = Field(default=None, ge=1, le=1024)
    """CPU cores of one worker. Default: the machine's cores shared out among the workers."""
    sharding: Literal["auto", "none", "fsdp"] = "auto"
    """Whether several workers divide weights, gradients and optimizer among them (`fsdp`) or each holds them whole
    (`none`). `auto` divides them where the job needs more memory than one GPU has."""

    @model_validator(mode="after")
    def _a_share_is_for_one_worker(self) -> Self:
        if self.num_workers > 1 and self.gpus_per_worker in (0.25, 0.5):
            raise ValueError("resources.gpus_per_worker must be 0 or 1 when resources.num_workers is above 1")
        return self


RUN_FIELDS = (
    "resources",
    "max_retries",
    "recovery",
    "after",
    "priority",
    "preemptible",
    "time_limit_s",
    "max_cost",
    "stuck_timeout_s",
    "first_step_timeout_s",
)
"""Fields about how a job runs, which come last in a document."""


class BaseJobConfig(StrictModel):
    """Fields that jobs of every kind have. Each kind adds `kind`, and what it needs to know.

    A document has `kind` first, then the name, the fields of its kind, and those of `RUN_FIELDS`.
    """

    name: Name | None = None
    """Display name; it need not be unique. Default: the names of the model and the dataset."""
    resources: Resources = Resources()
    """Devices for the job."""
    max_retries: int = Field(default=3, ge=0, le=100)
    """How often the job is retried after a failure that it caused itself."""
    after: OneOrMoreJobs = Field(default=[])
    """Jobs that must have completed before this one starts: the id or unique name of one, or a list of up to 20. A
    `model` of the form `job:ID` that names a job which has not ended adds that job."""
    priority: int = Field(default=DEFAULT_PRIORITY, ge=0, le=100)
    """Jobs of a higher priority start first."""
    preemptible: bool = True
    """Whether a job of a higher priority may take this one's devices; it continues from where it was later."""
    time_limit_s: int | None = Field(default=None, ge=60, le=YEAR_S)
    """Seconds that the job may run, all its attempts together; then it saves and ends."""
    max_cost: Amount | None = None
    """What the job may cost, all its attempts together, in the currency of the service; then it saves and ends."""
    stuck_timeout_s: int = Field(default=600, ge=10, le=YEAR_S)
    """Seconds without progress after which the attempt counts as hung and is tried again."""
    first_step_timeout_s: int = Field(default=3600, ge=30, le=YEAR_S)
    """The limit instead of `stuck_timeout_s` until the first step, which waits for the model and the data, and while a
    checkpoint is written."""

    @property
    def datasets(self) -> list[str]:
        """The datasets that the job reads, in their order."""
        return []

    @property
    def named_models(self) -> dict[str, str]:
        """The models that the job starts from or reads: the field of each, and the reference in it."""
        return {}

    def with_models(self, found: Mapping[str, str]) -> Self:
        """A copy with other references to models; `found` maps those that change."""
        return self

    def resolved(self) -> Self:
        """A copy with the defaults filled in that depend on other fields. Those of `resources` need the machine."""
        return self

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Order the fields of a kind; pydantic puts those of the base class first."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.__pydantic_fields__ = dict(sorted(cls.__pydantic_fields__.items(), key=lambda field: _place(field[0])))
        cls.model_rebuild(force=True)

    def model_post_init(self, _: Any) -> None:
        """Write `kind` into every document, also one without defaults: a document without it is a training job's."""
        self.__pydantic_fields_set__.add("kind")


def _place(field: str) -> int:
    if field in RUN_FIELDS:
        return RUN_FIELDS.index(field) + 1
    return -1 if field == "kind" else 0
