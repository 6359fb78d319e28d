"""`/v1/fine_tuning/alpha/graders`: try a grader on an answer, and check one."""

from typing import Any

from starlette.responses import JSONResponse, Response

from serve.context import Caller
from serve.http.json_body import JsonBody
from serve.http.responses import in_thread
from serve.openai import graders
from serve.openai.graders import GraderCheck, GraderRun
from serve.openai.route import strict_router

router = strict_router("/v1/fine_tuning/alpha/graders")


@router.post("/run", response_model=dict[str, Any], summary="Score an answer with a grader")
async def run_grader(caller: Caller, body: JsonBody[GraderRun]) -> Response:
    """The score that a job with this grader would give the answer. Nothing is stored."""
    return JSONResponse(await in_thread(graders.run, body))


@router.post("/validate", response_model=dict[str, Any], summary="Check whether a grader can be used")
async def validate_grader(caller: Caller, body: JsonBody[GraderCheck]) -> Response:
    """`400` with code `unsupported_grader` for one that no reward of this service equals."""
    await in_thread(graders.item_of, body.grader, "grader")
    return JSONResponse({"grader": body.grader})
