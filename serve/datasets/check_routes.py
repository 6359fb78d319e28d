"""`/api/datasets/{id}/check` and `/tokens`: what the doctor says, and a row as the model reads it."""

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ftlab.pages import PAGE_POLICY, check_page, token_page, waiting_page
from ftlab.schemas.checks import DEFAULT_MAX_FINDINGS, MOST_FINDINGS, CheckReport, CheckState
from ftlab.schemas.methods import SftMethod
from ftlab.schemas.replies import TokenRowList
from serve.context import services_of
from serve.datasets import checks
from serve.datasets.checks import Wanted
from serve.http.caller import current_owner
from serve.http.query import RecordId
from serve.http.responses import reply

router = APIRouter(prefix="/api/datasets", tags=["datasets"])
_DEFAULT = SftMethod()

ModelText = Annotated[str, Query(min_length=1, max_length=512, description="A model, as in a job's config.")]
MaxLength = Annotated[int, Query(ge=8, le=1_048_576, description="Tokens of a row that are kept.")]
AssistantOnlyLoss = Annotated[bool, Query(description="Learn the assistant's words only.")]
Packing = Annotated[bool, Query(description="Rows are packed, so that none is cut off.")]
EvalDataset = Annotated[
    str | None,
    Query(min_length=1, max_length=100, description="Dataset to evaluate on: read too, and must share no row with it."),
]
MaxFindings = Annotated[int, Query(ge=0, le=MOST_FINDINGS, description="Findings to describe; all are counted.")]


def _wanted(
    dataset_id: RecordId,
    model: ModelText,
    max_length: MaxLength = _DEFAULT.max_length,
    assistant_only_loss: AssistantOnlyLoss = True,
    packing: Packing = False,
) -> Wanted:
    method = SftMethod(max_length=max_length, assistant_only_loss=assistant_only_loss, packing=packing)
    return Wanted(dataset_id, model, method)


def _wanted_check(wanted: Annotated[Wanted, Depends(_wanted)], eval_dataset: EvalDataset = None) -> Wanted:
    return replace(wanted, eval_dataset=eval_dataset)


WantedRow = Annotated[Wanted, Depends(_wanted)]
WantedCheck = Annotated[Wanted, Depends(_wanted_check)]


@router.post(
    "/{dataset_id}/check",
    response_model=CheckReport,
    responses={202: {"model": CheckState, "description": "Under way: ask again."}},
    summary="Have the doctor look at a dataset",
)
async def check_dataset(
    request: Request, wanted: WantedCheck, max_findings: MaxFindings = DEFAULT_MAX_FINDINGS
) -> Response:
    """The first call starts the work. Ask again with the same parameters until the answer is 200 with the report."""
    found = await checks.check_dataset(services_of(request), current_owner(request), wanted, max_findings)
    return reply(found, 202 if isinstance(found, CheckState) else 200)


@router.get("/{dataset_id}/check.html", response_class=HTMLResponse, summary="The doctor's report as a page")
async def get_check_page(
    request: Request, wanted: WantedCheck, max_findings: MaxFindings = DEFAULT_MAX_FINDINGS
) -> Response:
    """202 with a page that loads itself again while the work is under way."""
    found = await checks.check_dataset(services_of(request), current_owner(request), wanted, max_findings)
    if isinstance(found, CheckState):
        return _page(waiting_page(found), 202)
    return _page(check_page(found))


@router.get("/{dataset_id}/tokens", response_model=TokenRowList, summary="The tokens of a row")
async def get_tokens(
    request: Request,
    wanted: WantedRow,
    row: Annotated[int, Query(ge=1, le=2**53, description="Counted from 1.")],
    format: Annotated[Literal["json", "html"], Query(description="A document, or a page.")] = "json",
) -> Response:
    """Each with what it stands for, and whether it is learned, special, or cut off; two rows for a pair."""
    rows = await checks.token_rows(services_of(request), current_owner(request), wanted, row)
    return _page(token_page(rows)) if format == "html" else reply(TokenRowList(data=rows))


def _page(markup: str, status: int = 200) -> Response:
    return HTMLResponse(markup, status, {"content-security-policy": PAGE_POLICY})
