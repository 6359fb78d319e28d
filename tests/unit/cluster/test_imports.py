"""The coordinator starts without the packages that training needs."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "trl", "peft", "mlflow", "datasets", "bitsandbytes")


@pytest.mark.parametrize("modules", ["cluster.coordinator, cluster.coordinator_actor, cluster.driver", "serve.app"])
def test_the_service_imports_nothing_heavy(modules: str):
    code = f"import sys, {modules}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
