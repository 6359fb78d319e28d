"""The coordinator starts without the packages that training needs."""

import subprocess
import sys

import pytest

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


def test_the_head_of_ray_has_no_serve_and_no_server_for_clients():
    loaded = loaded_after("from cluster.machine import ray_head\nassert ray_head.Node.start_ray_client_server")
    assert "ray.scripts.scripts" in loaded
    assert not loaded & {"ray.serve", "pandas", "pyarrow"}


def test_the_recorder_has_no_tables():
    loaded = loaded_after("import tracking.mlflow_record.api")
    assert "mlflow" in loaded
    assert not loaded & {"numpy", "pandas", "pyarrow", "scipy"}
