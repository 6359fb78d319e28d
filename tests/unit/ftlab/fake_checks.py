"""The part of the fake service that plays the doctor, and estimates and analyzes jobs."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ftlab.schemas import JobConfig
from tests.unit.ftlab.check_documents import ESTIMATE, REPORT, TOKEN_ROW


async def check_dataset(fake: Any, request: Request) -> Response:
    """Under way as often as `check_states` says, then done."""
    fake.check_params.append(dict(request.query_params))
    if fake.check_states:
        done_rows, total_rows = fake.check_states.pop(0)
        document = {"status": "working", "done_rows": done_rows, "total_rows": total_rows, "report": None}
        return JSONResponse(document, 202)
    return JSONResponse(REPORT | fake.report)


async def show_tokens(fake: Any, request: Request) -> Response:
    fake.check_params.append(dict(request.query_params))
    return JSONResponse({"data": [TOKEN_ROW | fake.token_row]})


async def estimate_job(fake: Any, request: Request) -> Response:
    config = JobConfig.model_validate_json(await request.body())
    fake.estimated.append(config)
    return JSONResponse(ESTIMATE | {"model": config.model})


async def analyze_job(fake: Any, request: Request) -> Response:
    return JSONResponse(fake.analytics | {"job_id": fake.find(request.path_params["job"]).id})
