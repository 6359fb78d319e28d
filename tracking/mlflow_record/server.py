"""How the MLflow server is started, and which of MLflow's own variables its server and its client run with.

Plain values only: whoever starts the server does not import MLflow for it.
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
"""The recorder repeats whole passes, so the client repeats nothing: "create run" twice would make two runs."""

SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""Without the job runner the server is two processes, not ten; nothing here uses MLflow's own jobs."""


def server_command(folder: Path, port: int, *, host: str = "127.0.0.1") -> list[str]:
    """The command line of an MLflow server that keeps its database and artifacts in `folder`.

    MLflow's default host check refuses `Host` headers from elsewhere. Start it in a session of its own and
    end the whole process group: the command keeps the web server as a child.
    """
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--serve-artifacts",
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        "1",
        "--uvicorn-opts",
        "--log-level warning --no-access-log",
    ]
