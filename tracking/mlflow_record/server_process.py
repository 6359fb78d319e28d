"""The MLflow server in one process: `python -m tracking.mlflow_record.server_process server …`, as `mlflow server …`.

MLflow's own command starts the web server as a second process, which imports everything again, and waits for it. Here
the process that has checked the options and the database becomes the web server, and pandas is imported when a request
needs it.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import uvicorn

from ftlab.hidden_packages import hidden

UVICORN = [sys.executable, "-m", "uvicorn"]


class _LateModule(ModuleType):
    """Stands for a package that is imported at its first use, other than in an annotation."""

    def __init__(self, package: str) -> None:
        super().__init__(package)
        self._names_types = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._names_types:
            return type(name, (), {"__module__": self.__name__})
        return getattr(import_module(self.__name__), name)

    def imports_from_now(self) -> None:
        self._names_types = False


@contextmanager
def _late(package: str) -> Iterator[None]:
    """Have modules that are imported in this block import `package` when they use it.

    Within the block, its attributes are empty classes: good for annotations only.
    """
    stands_in = _LateModule(package)
    sys.modules[package] = stands_in
    try:
        yield
    finally:
        del sys.modules[package]
        stands_in.imports_from_now()


# The server reads and writes no tables; its code for models and evaluations is written for them.
with hidden("pyarrow", "scipy"), _late("pandas"):
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
