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
