"""Having a dataset looked at by the data worker: what is asked, and what its answer means to a client."""

from dataclasses import dataclass

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
from ftlab.schemas.checks import CheckReport, CheckState, TokenRow
from ftlab.schemas.methods import Method
from ftlab.status import ReasonCode
from serve.context import Services
from serve.http.responses import in_thread
from serve.models.base_model import HubAnswer, ask_hub, check, find_tuned
from tracking.store import Transaction
from train.data.rows.errors import DatasetInvalidError

_ERRORS: dict[ReasonCode, type[FineTuneLabError]] = {
    ReasonCode.DATASET_INVALID: DatasetInvalidError,
    ReasonCode.CONFIG_INVALID: InvalidRequestError,
    ReasonCode.MODEL_NOT_FOUND: NotFoundError,
    ReasonCode.MODEL_ACCESS_DENIED: PermissionDeniedError,
    ReasonCode.DISK_FULL: ServiceUnavailableError,
}
"""How a check that failed is answered; every other reason is a conflict with how the service is."""


@dataclass(frozen=True)
class Wanted:
    """What a client asks to have looked at."""

    dataset_id: str
    model: str
    """A reference as in a job's config."""
    method: Method
    eval_dataset: str | None = None


async def check_dataset(services: Services, owner: str, wanted: Wanted, max_findings: int) -> CheckReport | CheckState:
    """The report, or how far it is; asking starts the work.

    Raise `NotFoundError` for a dataset or model that is not there, what `serve.models.base_model.check` raises, and
    what ended the check.
    """
    hub = await ask_hub(services, wanted.model)
    request = await in_thread(_check_request, services, owner, wanted, hub, max_findings)
    state = await services.data.check(request)
    if state.status is WorkStatus.FAILED:
        raise _error_of(state)
    if state.result is None:
        return CheckState(status=state.status, done_rows=state.done_rows, total_rows=state.total_rows)
    return CheckReport.model_validate(state.result).model_copy(update={"model": wanted.model})


async def token_rows(services: Services, owner: str, wanted: Wanted, row: int) -> list[TokenRow]:
    """The tokens of one row, counted from 1: two documents for a pair. Raises as `check_dataset` does."""
    hub = await ask_hub(services, wanted.model)
    request = await in_thread(_tokens_request, services, owner, wanted, hub, row)
    found = [TokenRow.model_validate(document) for document in await services.data.tokens(request)]
    return [token_row.model_copy(update={"model": wanted.model}) for token_row in found]


def _check_request(services: Services, owner: str, wanted: Wanted, hub: HubAnswer, max_findings: int) -> CheckRequest:
    with services.store.read() as tx:
        dataset = tx.datasets.get(wanted.dataset_id, owner=owner)
        eval_file = None
        if wanted.eval_dataset is not None:
            eval_file = source_file(services.settings, tx.datasets.get(wanted.eval_dataset, owner=owner))
        base = _base(tx, services, owner, wanted.model, hub)
    return CheckRequest(
        base, wanted.method, source_file(services.settings, dataset), eval_file, max_findings=max_findings
    )


def _tokens_request(services: Services, owner: str, wanted: Wanted, hub: HubAnswer, row: int) -> TokensRequest:
    with services.store.read() as tx:
        dataset = tx.datasets.get(wanted.dataset_id, owner=owner)
        base = _base(tx, services, owner, wanted.model, hub)
    return TokensRequest(base, wanted.method, source_file(services.settings, dataset), first_row=row - 1)


def _base(tx: Transaction, services: Services, owner: str, model: str, hub: HubAnswer) -> BaseRef:
    checked = check(model, services.settings, hub)
    find_tuned(checked.ref, tx, services.settings, owner)
    return base_ref(tx, services.settings, str(checked.ref), checked.revision)


def _error_of(state: WorkState) -> FineTuneLabError:
    reason = state.reason or ReasonCode.INTERNAL_ERROR
    return _ERRORS.get(reason, ConflictError)(state.message, str(reason))
