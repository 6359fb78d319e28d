"""How the supervisor brings its parts to an end; the parts themselves are stand-ins."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.machine import supervisor as supervisor_module
from cluster.machine.ports import free_ports
from cluster.machine.supervisor import DRAIN_MARGIN_S, Supervisor, prepare
from ftlab.cli.service_file import read_state
from ftlab.errors import InvalidRequestError
from ftlab.settings import Settings


class FakePart:
    """Keeps the order of what happens to the parts in `calls`."""

    pid = None

    def __init__(self, name: str, calls: list[str], on_stop: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self._calls = calls
        self._on_stop = on_stop
        self.grace_s = -1.0
        self.was_urgent: bool | None = None

    def start(self) -> None:
        self._calls.append(f"start {self.name}")

    def note_descendants(self, children: object) -> None:
        pass

    def is_alive(self) -> bool:
        return True

    def restart_if_dead(self) -> bool:
        return False

    def terminate(self) -> None:
        self._calls.append(f"terminate {self.name}")

    def stop(self, grace_s: float, is_urgent: Callable[[], bool]) -> None:
        self._calls.append(f"stop {self.name}")
        self._on_stop()
        self.grace_s, self.was_urgent = grace_s, is_urgent()


class Supervised:
    def __init__(self, settings: Settings, signals: list[int], while_saving: list[int]) -> None:
        """It gets `signals` while the service runs, and `while_saving` while the API's process has the jobs save."""
        self.calls: list[str] = []
        self.supervisor = Supervisor(settings)
        self.ray = FakePart("Ray", self.calls)
        self.api = FakePart("API", self.calls, lambda: self._send(while_saving))
        self.supervisor._ray, self.supervisor._api = self.ray, self.api  # type: ignore[assignment]
        self.supervisor._parts = [self.ray, self.api]  # type: ignore[list-item]
        self.supervisor._watch = lambda: self._send(signals)  # type: ignore[method-assign]

    @staticmethod
    def _send(signals: list[int]) -> None:
        for number in signals:
            signal.raise_signal(number)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(supervisor_module, "POLL_INTERVAL_S", 0.001)
    monkeypatch.setattr(supervisor_module, "end_leftovers", lambda settings: 0)
    monkeypatch.setattr(Supervisor, "_is_ready", lambda self: False)
    return Settings(home=tmp_path, stop_grace_s=20)


@pytest.fixture(autouse=True)
def _own_signals():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    # A signal that the test's parent ignores (nohup) would be ignored by the supervisor too.
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_gives_the_jobs_time_to_save_before_anything_else_ends(settings: Settings, number: int):
    run = Supervised(settings, [number], [])
    assert run.supervisor.run() == 0
    assert run.calls == [
        "start Ray",
        "start API",
        "stop API",
        "terminate Ray",
        "terminate API",
        "stop Ray",
        "stop API",
    ]
    assert run.api.was_urgent is False
    assert read_state(settings) is None


def test_the_time_to_save_is_that_of_the_setting(settings: Settings):
    run = Supervised(settings, [signal.SIGTERM], [])
    graces: list[float] = []
    stop = run.api.stop

    def note(grace_s: float, is_urgent: Callable[[], bool]) -> None:
        graces.append(grace_s)
        stop(grace_s, is_urgent)

    run.api.stop = note  # type: ignore[method-assign]
    run.supervisor.run()
    assert graces[0] == 20 + DRAIN_MARGIN_S


@pytest.mark.parametrize(
    ("first", "second"), [([signal.SIGQUIT], []), ([signal.SIGTERM], [signal.SIGINT]), ([signal.SIGINT] * 2, [])]
)
def test_a_second_signal_or_sigquit_waits_for_nothing(settings: Settings, first: list[int], second: list[int]):
    run = Supervised(settings, first, second)
    assert run.supervisor.run() == 0
    assert run.api.was_urgent is True
    assert run.ray.was_urgent is True


def test_nohup_keeps_sighup_away(settings: Settings):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run = Supervised(settings, [signal.SIGHUP, signal.SIGTERM], [])
    assert run.supervisor.run() == 0
    assert run.api.was_urgent is False


def test_down_now_works_for_a_service_that_a_script_started_in_its_background(settings: Settings):
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    run = Supervised(settings, [signal.SIGINT, signal.SIGQUIT], [])
    assert run.supervisor.run() == 0
    assert run.api.was_urgent is True


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(supervisor_module, "replacing", fail)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_keeps_no_job_from_saving(settings: Settings):
    run = Supervised(settings, [signal.SIGTERM], [])
    assert run.supervisor.run() == 0
    assert run.calls[2] == "stop API"
    assert run.calls[-2:] == ["stop Ray", "stop API"]


@pytest.mark.usefixtures("full_disk")
def test_a_part_that_dies_on_a_full_disk_does_not_end_the_service(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    run = Supervised(settings, [], [])
    monkeypatch.setattr(run.ray, "restart_if_dead", lambda: True)
    monkeypatch.setattr(run.api, "stop", lambda grace_s: None)
    Supervisor._watch(run.supervisor)
    assert run.calls == ["start API"]


def test_the_service_does_not_start_with_a_bucket_that_it_cannot_reach_at_all(tmp_path: Path) -> None:
    ports = dict(zip(("port", "mlflow_port", "dashboard_port", "ray_port"), free_ports(4), strict=True))
    with pytest.raises(InvalidRequestError, match="Bucket 'mine': there is no driver for nosuch://"):
        prepare(Settings(home=tmp_path, buckets={"mine": "nosuch://x"}, **ports))


def test_a_service_that_others_can_reach_needs_a_key_of_an_admin(tmp_path: Path) -> None:
    names = ("port", "mlflow_port", "dashboard_port", "ray_port")
    settings = Settings(home=tmp_path, host="0.0.0.0", **dict(zip(names, free_ports(4), strict=True)))
    with pytest.raises(InvalidRequestError, match="there is no valid API key with the scope 'admin'") as refused:
        prepare(settings)
    assert (refused.value.code, refused.value.param) == ("unsafe_host", "host")


def test_the_token_for_the_hub_reaches_what_asks_the_hub_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-4712")
    parts = {part.name: dict(part.env) for part in Supervisor(Settings(home=tmp_path))._parts}
    assert [name for name, env in parts.items() if "canary-4712" in env.values()] == ["Ray", "API"]


def test_the_password_for_mail_reaches_the_notifier_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, smtp_url="smtp://me@127.0.0.1", smtp_password="canary-4711")
    parts = {part.name: dict(part.env) for part in Supervisor(settings)._parts}
    assert [name for name, env in parts.items() if "canary-4711" in env.values()] == ["Notifier"]
    assert parts["Notifier"]["FTLAB_SMTP_URL"] == parts["API"]["FTLAB_SMTP_URL"] == "smtp://me@127.0.0.1"


def test_ray_is_started_again_with_ports_that_are_free_then(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """With ports that it has to find itself, the raylet waits for its agents."""
    monkeypatch.setattr(supervisor_module, "free_ports", lambda count, besides: list(range(21_000, 21_000 + count)))
    service = Supervisor(settings)
    monkeypatch.setattr(supervisor_module, "free_ports", lambda count, besides: list(range(22_000, 22_000 + count)))
    service._parts = []
    first = [word for word in service._ray.command if "-port=2" in word]
    service._watch()
    again = [word for word in service._ray.command if "-port=2" in word]
    assert [word.rpartition("=")[0] for word in first] == [f"--{name}-port" for name in supervisor_module.RAY_PORTS]
    assert again == [word.replace("=21", "=22") for word in first]
