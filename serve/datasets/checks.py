"""`/api/datasets/{id}/check` and `/tokens`: the doctor's report, and a row as the model reads it.

The work is done by the data worker.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import HTMLResponse, Response

from cluster.data.requests import (
    BaseRef,
    CheckRequest,
    TokensRequest,
    WorkState,
    WorkStatus,
    base_ref,
    source_file,
)
from ftlab.errors import (
    ConflictError,
    FineTuneLabError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ServiceUnavailableError,
)
from ftlab.pages import PAGE_POLICY, check_page, token_page, waiting_page
from ftlab.schemas.checks import DEFAULT_MAX_FINDINGS, MOST_FINDINGS, CheckReport, CheckState, TokenRow
from ftlab.schemas.methods import GrpoMethod, Method, RowKind, SftMethod
from ftlab.schemas.replies import TokenRowList
from ftlab.schemas.rewards import REWARD_TYPES
from ftlab.status import ReasonCode
from serve.context import Caller, Services
from serve.http.openapi import also_as
from serve.http.query import RecordId
from serve.http.responses import reply
from serve.models.base_model import HubAnswer, ask_huggingface, check, find_tuned
from tracking.store import Transaction
from tracking.store.records import DatasetRecord
from train.data.rows.errors import DatasetInvalidError

router = APIRouter(prefix="/api/datasets", tags=["datasets"])
_DEFAULT = SftMethod()

ModelText = Annotated[str, Query(min_length=1, max_length=512, description="A model, as in a job's config.")]
MaxLength = Annotated[int, Query(ge=8, le=1_048_576, description="Maximum tokens per row.")]
AssistantOnlyLoss = Annotated[bool, Query(description="Train on the assistant's messages only.")]
Packing = Annotated[bool, Query(description="Rows are packed, so none is truncated.")]
EvalDataset = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=200,
        description="Evaluation dataset: also checked; it must share no rows with the dataset.",
    ),
]
Rewards = Annotated[
    list[str] | None,
    Query(
        description="Types of the rewards of a 'grpo' job, separated by commas: where one compares with the reference "
        "answers of the rows, these are checked."
    ),
]
MaxFindings = Annotated[
    int, Query(ge=0, le=MOST_FINDINGS, description="Maximum findings to describe; all are counted.")
]
_ERRORS: dict[ReasonCode, type[FineTuneLabError]] = {
    ReasonCode.DATASET_INVALID: DatasetInvalidError,
    ReasonCode.CONFIG_INVALID: InvalidRequestError,
    ReasonCode.MODEL_NOT_FOUND: NotFoundError,
    ReasonCode.MODEL_ACCESS_DENIED: PermissionDeniedError,
    ReasonCode.DISK_FULL: ServiceUnavailableError,
    ReasonCode.STORAGE_ERROR: ServiceUnavailableError,
}
"""Error for each reason of a failed check; all other reasons are conflicts."""


@dataclass(frozen=True)
class CheckTarget:
    """What to check: a dataset, read with a model and a method."""

    dataset_id: str
    model: str
    """Model reference as in a job's config."""
    method: Method
    eval_dataset: str | None = None
    rewards: tuple[str, ...] = ()
    """Types of the rewards that compare with the reference answers of the rows, sorted."""


def _row_target(
    dataset_id: RecordId,
    model: ModelText,
    max_length: MaxLength = _DEFAULT.max_length,
    assistant_only_loss: AssistantOnlyLoss = True,
    packing: Packing = False,
) -> CheckTarget:
    method = SftMethod(max_length=max_length, assistant_only_loss=assistant_only_loss, packing=packing)
    return CheckTarget(dataset_id, model, method)


def _dataset_target(
    target: Annotated[CheckTarget, Depends(_row_target)],
    eval_dataset: EvalDataset = None,
    rewards: Rewards = None,
) -> CheckTarget:
    return replace(target, eval_dataset=eval_dataset, rewards=_comparing(rewards or []))


def _comparing(rewards: list[str]) -> tuple[str, ...]:
    """The rewards that compare with reference answers. Raise `InvalidRequestError` for a type that does not exist."""
    named = {name for item in rewards for name in item.split(",") if name}
    if not named <= REWARD_TYPES.keys():
        raise InvalidRequestError(
            f"rewards must be types of rewards, separated by commas: {', '.join(REWARD_TYPES)}.",
            "invalid_parameter",
            "rewards",
        )
    return tuple(sorted(name for name in named if REWARD_TYPES[name].needs_reference))


RowTarget = Annotated[CheckTarget, Depends(_row_target)]
DatasetTarget = Annotated[CheckTarget, Depends(_dataset_target)]


@router.post(
    "/{dataset_id}/check",
    response_model=CheckReport,
    responses={202: {"model": CheckState, "description": "Still running; poll again."}},
    summary="Check a dataset with the doctor",
)
async def check_dataset(
    caller: Caller, target: DatasetTarget, max_findings: MaxFindings = DEFAULT_MAX_FINDINGS
) -> Response:
    """The first call starts the check. Poll with the same parameters until the reply is 200 with the report."""
    found = await run_check(caller, target, max_findings)
    return reply(found, 202 if isinstance(found, CheckState) else 200)


@router.get(
    "/{dataset_id}/check.html",
    response_class=HTMLResponse,
    responses={202: {"description": "Still running: a page that reloads itself.", "content": {"text/html": {}}}},
    summary="Get the doctor's report as an HTML page",
)
async def get_check_page(
    caller: Caller, target: DatasetTarget, max_findings: MaxFindings = DEFAULT_MAX_FINDINGS
) -> Response:
    """Return status 202 and a page that reloads itself while the check runs."""
    found = await run_check(caller, target, max_findings)
    if isinstance(found, CheckState):
        return _page(waiting_page(found), 202)
    return _page(check_page(found))


@router.get(
    "/{dataset_id}/tokens",
    response_model=TokenRowList,
    responses=also_as("text/html"),
    summary="Get the tokens of a row",
)
async def get_tokens(
    caller: Caller,
    target: RowTarget,
    row: Annotated[int, Query(ge=1, le=2**53, description="Row number, starting at 1.")],
    format: Annotated[Literal["json", "html"], Query(description="JSON document or HTML page.")] = "json",
) -> Response:
    """Each token with its text, and whether it is trained, special, or cut off; two rows for a pair."""
    rows = await read_tokens(caller, target, row)
    return _page(token_page(rows)) if format == "html" else reply(TokenRowList(data=rows))


async def run_check(caller: Caller, target: CheckTarget, max_findings: int) -> CheckReport | CheckState:
    """The report, or the progress of the work; the first call starts it.

    Raise `NotFoundError` for a dataset or model that does not exist, what `serve.models.base_model.check` raises, and
    the error that ended the check.
    """
    answer = await ask_huggingface(caller.services, target.model)
    request = await caller.call(_check_request, target, answer, max_findings)
    state = await caller.services.data.check(request)
    if state.status is WorkStatus.FAILED:
        raise _error_of(state)
    if state.result is None:
        return CheckState(status=state.status, done_rows=state.done_rows, total_rows=state.total_rows)
    return CheckReport.model_validate(state.result).model_copy(update={"model": target.model})


async def read_tokens(caller: Caller, target: CheckTarget, row: int) -> list[TokenRow]:
    """The tokens of one row, counted from 1: two documents for a pair. Raises what `run_check` raises."""
    answer = await ask_huggingface(caller.services, target.model)
    request = await caller.call(_tokens_request, target, answer, row)
    found = [TokenRow.model_validate(document) for document in await caller.services.data.tokens(request)]
    return [token_row.model_copy(update={"model": target.model}) for token_row in found]


async def read_template_problems(caller: Caller, target: CheckTarget, num_rows: int) -> dict[int, str]:
    """What the chat template leaves out of the first rows, by line. Raises what `run_check` raises."""
    answer = await ask_huggingface(caller.services, target.model)
    request = await caller.call(_tokens_request, target, answer, 1)
    return await caller.services.data.template_problems(replace(request, num_rows=num_rows))


def _check_request(
    services: Services, owner: str, target: CheckTarget, answer: HubAnswer, max_findings: int
) -> CheckRequest:
    with services.store.read() as tx:
        dataset = tx.datasets.resolve(target.dataset_id, owner=owner)
        _refuse_prompts(dataset, "dataset_id")
        if target.rewards and dataset.kind not in GrpoMethod.row_kinds:
            raise InvalidRequestError(
                f"rewards are for rows with a reference answer, and the dataset has rows of kind '{dataset.kind}', "
                "which method 'grpo' does not take; leave rewards out.",
                "dataset_kind_mismatch",
                "rewards",
            )
        eval_file = None
        if target.eval_dataset is not None:
            eval_dataset = tx.datasets.resolve(target.eval_dataset, owner=owner)
            _refuse_prompts(eval_dataset, "eval_dataset")
            eval_file = source_file(services.settings, eval_dataset)
        base = _base(tx, services, owner, target.model, answer)
    return CheckRequest(
        base,
        target.method,
        source_file(services.settings, dataset),
        eval_file,
        max_findings=max_findings,
        rewards=target.rewards,
    )


def _refuse_prompts(dataset: DatasetRecord, param: str) -> None:
    if dataset.kind == RowKind.PROMPTS:
        raise InvalidRequestError(
            "The dataset has prompts without answers, and the doctor checks answers that a model is trained on. Look "
            "at the rows with the preview or as tokens; a job of method 'grpo' counts the prompts that are too long.",
            "dataset_kind_mismatch",
            param,
        )


def _tokens_request(services: Services, owner: str, target: CheckTarget, answer: HubAnswer, row: int) -> TokensRequest:
    with services.store.read() as tx:
        dataset = tx.datasets.resolve(target.dataset_id, owner=owner)
        base = _base(tx, services, owner, target.model, answer)
    return TokensRequest(base, target.method, source_file(services.settings, dataset), first_row=row - 1)


def _base(tx: Transaction, services: Services, owner: str, model: str, answer: HubAnswer) -> BaseRef:
    checked = check(model, services.settings, answer)
    tuned = find_tuned(checked.ref, tx, services.settings, owner)
    return base_ref(tx, services.settings, str(tuned.ref if tuned else checked.ref), checked.revision)


def _error_of(state: WorkState) -> FineTuneLabError:
    reason = state.reason or ReasonCode.INTERNAL_ERROR
    return _ERRORS.get(reason, ConflictError)(state.message, str(reason))


def _page(markup: str, status: int = 200) -> Response:
    return HTMLResponse(markup, status, {"content-security-policy": PAGE_POLICY})
