"""`ftlab monitor` without a terminal: one snapshot, and what it refuses."""

import builtins
import sys

import pytest

import ftlab.tui
from ftlab.cli import monitor
from ftlab.errors import InvalidRequestError
from ftlab.status import JobStatus


@pytest.fixture(autouse=True)
def _width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def test_once_prints_all_jobs(cli, fake):
    fake.add_job(2, name="support")
    fake.add_job(1, JobStatus.COMPLETED, name="earlier")
    shown = cli("monitor", "--once")
    assert shown.code == 0
    assert "● 1 running" in shown.lines[0]
    assert shown.lines[1].split()[:2] == ["NAME", "METHOD"]
    assert "support" in shown.lines[2]
    assert "━━╌╌╌╌╌╌╌╌" in shown.lines[2]
    assert "completed" in shown.lines[3]


def test_once_without_jobs_says_what_to_do(cli):
    assert "ftlab submit job.yaml" in cli("monitor", "--once").out


def test_once_shows_one_job_with_its_charts_and_settings(cli, fake):
    fake.add_job(3, name="support")
    shown = cli("monitor", "support", "--once", "--ascii")
    assert shown.code == 0
    assert shown.out.isascii()
    assert "loss" in shown.out
    assert "SETTINGS" in shown.out


def test_json_exports_the_snapshot(cli, fake):
    job = fake.add_job(2, name="support")
    document = cli("monitor", "support", "--json").json
    assert document["server"] == fake.url
    assert document["jobs"][0]["id"] == job.id
    assert len(document["jobs"][0]["trend"]) == 2
    assert [step for step, _ in document["job"]["series"]["loss"]] == [1, 2]
    assert cli("monitor", "--json").json.get("job") is None


def test_errors_keep_their_exit_codes(cli, monkeypatch, unused_port):
    assert cli("monitor", "nope", "--once").code == 3
    monkeypatch.setattr(monitor, "FIRST_CONTACT_S", 0.0)
    gone = cli("monitor", "--once", "--server", f"http://127.0.0.1:{unused_port}")
    assert gone.code == 8
    assert "Nothing answers" in gone.err


def test_a_pipe_is_refused_with_a_hint(cli):
    refused = cli("monitor")
    assert refused.code == 2
    assert "--once" in refused.err


def test_a_missing_textual_is_explained(monkeypatch):
    real = builtins.__import__

    def without_textual(name, *arguments, **options):
        if name.partition(".")[0] == "textual":
            raise ModuleNotFoundError("No module named 'textual'", name="textual")
        return real(name, *arguments, **options)

    for name in [name for name in sys.modules if name.partition(".")[0] == "textual" or name == "ftlab.tui.app"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(ftlab.tui, "app", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_textual)
    with pytest.raises(InvalidRequestError, match=r"pip install 'ftlab\[tui\]'"):
        monitor._application()
