"""The command line of the MLflow server, and the environment variables of server and client.

This module does not import MLflow, so that the supervisor can use it cheaply.
"""

import sys
from pathlib import Path

CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""The recorder retries whole passes, so the client must not retry: a repeated "create run" makes two runs."""

SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""Without its job runner, which nothing here uses, the server is one process instead of nine."""


def server_command(folder: Path, port: int) -> list[str]:
    """The command line of an MLflow server with its database and artifacts in `folder`.

    MLflow's default host check refuses `Host` headers of other hosts.
    """
    return [
        sys.executable,
        "-m",
        "tracking.mlflow_record.server_process",
        "server",
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--serve-artifacts",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--uvicorn-opts",
        "--log-level warning --no-access-log",
    ]
