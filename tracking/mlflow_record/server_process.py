"""The MLflow server in one process: `python -m tracking.mlflow_record.server_process server …`, as `mlflow server …`.

MLflow's own command starts the web server as a second process, which imports everything again, and waits for it. Here
the process that has checked the options and the database becomes the web server, and pandas is imported when a request
needs it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import uvicorn

from ftlab.lean_imports import execute_deferring, hidden, hook_imports

UVICORN = [sys.executable, "-m", "uvicorn"]

# The server reads and writes no tables; its code for models and evaluations is written for them.
FOR_TABLES = frozenset(
    f"mlflow.{module}"
    for module in (
        *("data.evaluation_dataset", "data.pandas_dataset", "genai.evaluation.utils", "genai.scorers.validation"),
        *("metrics.genai.genai_metric", "models.evaluation.base", "models.signature", "models.utils"),
        *("pyfunc", "pyfunc.model", "types.utils"),
    )
)
"""Modules that import pandas, and are imported with the server. It is imported with one that is missing here."""
_without_tables = partial(execute_deferring, ("pandas",))
hook_imports(lambda name: _without_tables if name in FOR_TABLES else None)
with hidden("pyarrow", "scipy"):
    # Checks of `Host` headers are set up at this import, because uvicorn is imported already.
    import mlflow.server
    import mlflow.server.fastapi_app
    from mlflow.cli import cli


def _serve(command: Sequence[str], *, extra_env: Mapping[str, str], **_: Any) -> None:
    assert list(command[: len(UVICORN)]) == UVICORN, f"MLflow starts its server by another command: {command}"
    os.environ.update(extra_env)
    uvicorn.main(list(command[len(UVICORN) :]))


if __name__ == "__main__":
    # With another name in a later MLflow, the server has two processes, and works.
    vars(mlflow.server)["_exec_cmd"] = _serve
    cli()
