"""`GET /api/evaluations/options`: the judges and the tasks that evaluations of this service may name."""

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.schemas.evaluation_results import AvailableJudge, EvaluationOptions
from ftlab.settings import Settings
from serve.context import Caller
from serve.http.json_body import JsonRoute
from serve.http.responses import in_thread, reply
from train.evaluation.task_checks import INSTALL, available_tasks, has_package

router = APIRouter(prefix="/api/evaluations", tags=["jobs"], route_class=JsonRoute)


@router.get("/options", response_model=EvaluationOptions, summary="List judges and tasks of evaluations")
async def get_options(caller: Caller) -> Response:
    """The judges by name and model, and the tasks of lm-evaluation-harness in the folder of the service."""
    return reply(await in_thread(_options, caller.services.settings))


def _options(settings: Settings) -> EvaluationOptions:
    judges = [AvailableJudge(name=name, model=judge.model) for name, judge in sorted(settings.judges.items())]
    folder = settings.lm_eval_tasks
    if folder is None:
        return EvaluationOptions(judges=judges)
    if not has_package():
        return EvaluationOptions(judges=judges, problem=f"{INSTALL}.")
    return EvaluationOptions(judges=judges, tasks=available_tasks(folder))
