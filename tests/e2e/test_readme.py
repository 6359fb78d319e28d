"""The README's commands, run as they stand there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.machine.ports import free_ports
from tests.support.documents import ROOT, block
from tests.support.tiny_models import make_tiny_model


def environment(home: Path) -> dict[str, str]:
    """A user's environment; only folder and ports are not the defaults, to disturb nothing on this machine.

    `make` that runs the tests leaves its own options there, which a user has not.
    """
    port, mlflow_port, dashboard_port, ray_port = free_ports(4)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FTLAB_", "RAY_", "MAKE"))}
    return kept | {
        "FTLAB_HOME": str(home),
        "FTLAB_PORT": str(port),
        "FTLAB_MLFLOW_PORT": str(mlflow_port),
        "FTLAB_DASHBOARD_PORT": str(dashboard_port),
        "FTLAB_RAY_PORT": str(ray_port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "VENV": sys.prefix,
    }


def run(command: list[str], environment: dict[str, str], *, fails: bool = False) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], str]]:
    """What `make demo` printed, and the environment of the service that it leaves running."""
    user = environment(tmp_path_factory.mktemp("demo"))
    try:
        yield user, run(["make", "-e", "demo"], user)
    finally:
        run(["make", "-e", "down"], user)


@pytest.fixture(scope="module")
def service(demo: tuple[dict[str, str], str]) -> dict[str, str]:
    """The demo's service, with a tiny model in place of the one that the README names, to keep its blocks short."""
    user, _ = demo
    model = Path(user["FTLAB_HOME"]) / "models" / "HuggingFaceTB--SmolLM2-135M-Instruct"
    model.rename(model.with_name("real"))
    make_tiny_model(model)
    return user


@pytest.mark.timeout(1600)
def test_the_demo_fine_tunes_a_real_model(demo: tuple[dict[str, str], str]) -> None:
    _, printed = demo
    before, after = (float(number) for number in re.findall(r"(\d+\.\d+) before, (\d+\.\d+) after", printed)[0])
    assert after < 0.7 * before
    assert "Lab note:" in printed, "the tuned model answers in the style of the dataset"
    for name in ("Adapter ZIP", "API docs", "MLflow", "Ray dashboard"):
        assert name in printed
    assert re.search(r"Open the curves of this job: http://127\.0\.0\.1:\d+/#/experiments/\d+/runs/\w+", printed)


def test_the_sdk_block_runs(service: dict[str, str], tmp_path: Path) -> None:
    code = block("sdk").text.replace("support.zip", str(tmp_path / "support.zip"))

    assert "completed" in run([sys.executable, "-c", code], service)
    assert (tmp_path / "support.zip").stat().st_size > 1000


def test_the_command_line_block_runs(service: dict[str, str], tmp_path: Path) -> None:
    job = block("job").text.replace("serve/demo", f"{ROOT}/serve/demo")
    (tmp_path / "job.yaml").write_text(job)

    run(["ftlab", "submit", str(tmp_path / "job.yaml"), "--follow"], service)
    run(["ftlab", "download", "support", "--output", str(tmp_path / "support.zip")], service)

    assert (tmp_path / "support.zip").stat().st_size > 1000


def test_the_service_is_started_once_and_stops(service: dict[str, str]) -> None:
    """The demo has started it as `make up` does; `test_stops.py` starts a service that was stopped."""
    assert "is already running" in run(["make", "-e", "up"], service, fails=True)
    assert "Stopped." in run(["make", "-e", "down"], service)
    assert "No service is running" in run(["make", "-e", "down"], service)
