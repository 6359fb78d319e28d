"""The coordinator starts without the packages that training needs."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import ray

from cluster.machine.lean_ray import DEFERRED, FOR_PANDAS, FOR_PYARROW, TABLES

HEAVY = ("torch", "transformers", "trl", "peft", "mlflow", "datasets", "bitsandbytes")


COORDINATOR = "cluster.coordinator.coordinator, cluster.coordinator.actor"


@pytest.mark.parametrize("modules", [f"{COORDINATOR}, cluster.runs.driver", "serve.app"])
def test_the_service_imports_nothing_heavy(modules: str):
    code = f"import sys, {modules}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_ray_does_without_pandas_and_pyarrow():
    """In each of its processes, they take half a second and 45 to 65 MB."""
    lean = """
import cluster.machine.lean_ray, ray.serve, ray.serve._private.controller
from ray.serve._private.utils import ensure_serialization_context
ensure_serialization_context()
"""
    assert "pandas" in loaded_after(f"{lean}\nassert not sys.modules.keys() & {{'pandas', 'pyarrow'}}\nimport pandas")


LEAN_TRAIN = """
import cluster.machine.lean_ray
from pathlib import Path
import cluster.runs.trainer as runs
import ray.train.v2._internal.execution.checkpoint.sync_actor, ray.train.v2._internal.execution.controller.controller
import cluster.runs.fixed_size, cluster.runs.worker
trainer = runs.make_trainer("run-1", driver="run-1", shape=None, plan=None, storage=Path("runs"))
trainer._create_default_callbacks()
"""
"""Imports of the driver, the controller, the reporting actor and the worker of a run, before the job's own modules."""


def test_ray_train_does_without_ray_data():
    """It takes a second in each of the four processes of a run, and PyTorch two in the first."""
    loaded = loaded_after(LEAN_TRAIN)
    assert "pyarrow" in loaded
    assert not loaded & {"pandas", "ray.data", "ray.data.context", "torch", "ray.train.torch"}


def test_the_modules_of_ray_whose_imports_wait_are_there():
    """Where one has another name, its imports do not wait, and a run starts more slowly."""
    of_ray = {*DEFERRED, *(name for names in DEFERRED.values() for name in names), FOR_PANDAS, FOR_PYARROW} - {"pandas"}
    folder = Path(ray.__file__).parents[1]
    files = {name: folder / name.replace(".", "/") for name in of_ray}
    missing = [name for name, file in files.items() if not file.is_dir() and not file.with_suffix(".py").exists()]
    missing += [] if hasattr(import_module(FOR_PYARROW), TABLES) else [TABLES]
    assert missing == []


def test_the_head_of_ray_has_no_serve_and_no_server_for_clients():
    loaded = loaded_after("from cluster.machine import ray_head\nassert ray_head.Node.start_ray_client_server")
    assert "ray.scripts.scripts" in loaded
    assert not loaded & {"ray.serve", "pandas", "pyarrow"}


def test_the_recorder_has_no_tables():
    loaded = loaded_after("import tracking.mlflow_record.api")
    assert "mlflow" in loaded
    assert not loaded & {"numpy", "pandas", "pyarrow", "scipy"}
