"""The API starts without the packages that training needs."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "trl", "peft", "mlflow", "datasets", "bitsandbytes")


def test_the_api_imports_nothing_heavy():
    code = f"import sys, serve.app, serve.deployment; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
