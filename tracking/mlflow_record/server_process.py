"""The MLflow server in one process: `python -m tracking.mlflow_record.server_process server …`, as `mlflow server …`.

MLflow's own command waits for the web server that it starts, with 190 MB of imports that are of no further use. Here
it becomes the web server.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow.server
from mlflow.cli import cli


def _become(command: Sequence[str], *, extra_env: Mapping[str, str], **_: Any) -> None:
    os.execvpe(command[0], list(command), {**os.environ, **extra_env})


if __name__ == "__main__":
    # With another name in a later MLflow, the server has two processes, and works.
    vars(mlflow.server)["_exec_cmd"] = _become
    cli()
