"""`ftlab inference`: a real environment, into which a small package of the name of vLLM is installed."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ftlab.vllm_environment import find_vllm
from tests.unit.ftlab.cli_runs import Cli

MODULES = {
    "vllm/__init__.py": "",
    "vllm/model_executor/__init__.py": "",
    "vllm/model_executor/models/__init__.py": "class ModelRegistry:\n"
    "    def get_supported_archs():\n        print('a warning')\n        return {'LlamaForCausalLM', 'Gpt2'}\n",
}


def write_wheel(folder: Path, version: str, files: Mapping[str, str]) -> None:
    info = f"vllm-{version}.dist-info"
    parts = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nvllm = vllm:main\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"vllm-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in parts.items():
            wheel.writestr(name, text)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    write_wheel(tmp_path / "wheels", "0.32.0", MODULES)
    write_wheel(tmp_path / "wheels", "0.33.1", MODULES)
    return tmp_path / "wheels"


def test_install_and_status(cli: Cli, wheels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "inference"
    assert "vLLM is not installed" in cli("inference", "status").err

    # An installation that fails leaves nothing.
    write_wheel(wheels, "0.33.2", MODULES | {"vllm/__init__.py": "raise ImportError('libcudart.so is missing')"})
    failed = cli("inference", "install", "--yes", "--json")
    error = json.loads(failed.err.splitlines()[-1])["error"]
    assert (failed.code, error["code"]) == (8, "install_failed")
    assert "vLLM does not start (exit code 1)" in error["message"]
    assert "libcudart.so is missing" in error["message"]
    assert [file.name for file in folder.iterdir()] == ["install.lock"]

    (wheels / "vllm-0.33.2-py3-none-any.whl").unlink()
    done = cli("inference", "install", "--yes")
    assert done.code == 0, done.err
    assert "Installing vLLM 0.33.1: 1 packages, " in done.err

    found = find_vllm(folder)
    assert found is not None
    assert (found.version, found.architectures) == ("0.33.1", ("Gpt2", "LlamaForCausalLM"))
    assert found.size_bytes > (wheels / "vllm-0.33.1-py3-none-any.whl").stat().st_size
    assert "import main" in found.program.read_text()
    shown = cli("inference", "status", "--json")
    assert (shown.json["version"], shown.json["folder"]) == ("0.33.1", str(found.folder))
    assert "is installed already" in cli("inference", "install").err
