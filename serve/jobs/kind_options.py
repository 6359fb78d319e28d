"""What evaluations and exports of this service can name, by what its settings allow."""

from typing import get_args

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.schemas.evaluation_results import AvailableJudge, EvaluationOptions
from ftlab.schemas.export import GgufKType, GgufType
from ftlab.schemas.export_results import ExportOptions
from ftlab.settings import Settings
from serve.context import Caller
from serve.http.json_body import JsonRoute
from serve.http.responses import in_thread, reply
from train.evaluation.task_checks import INSTALL, available_tasks, has_package

router = APIRouter(prefix="/api", tags=["jobs"], route_class=JsonRoute)


@router.get("/evaluations/options", response_model=EvaluationOptions, summary="List judges and tasks of evaluations")
async def get_evaluation_options(caller: Caller) -> Response:
    """The judges by name and model, and the tasks of lm-evaluation-harness in the folder of the service."""
    return reply(await in_thread(_evaluation_options, caller.services.settings))


@router.get("/exports/options", response_model=ExportOptions, summary="List the types of weights of exports")
async def get_export_options(caller: Caller) -> Response:
    """K-quants are among them where the setting `llama_quantize` names the program that makes them."""
    k_types = get_args(GgufKType)
    has_k_types = caller.services.settings.llama_quantize is not None
    return reply(ExportOptions(gguf_types=[each for each in get_args(GgufType) if has_k_types or each not in k_types]))


def _evaluation_options(settings: Settings) -> EvaluationOptions:
    judges = [AvailableJudge(name=name, model=judge.model) for name, judge in sorted(settings.judges.items())]
    folder = settings.lm_eval_tasks
    if folder is None:
        return EvaluationOptions(judges=judges)
    if not has_package():
        return EvaluationOptions(judges=judges, problem=f"{INSTALL}.")
    return EvaluationOptions(judges=judges, tasks=available_tasks(folder))
