"""A service that other machines of the network reach: with keys, for two users."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from cluster.machine.supervisor import ray_temp_dir
from ftlab import Client, errors
from ftlab.cli.network import network_url
from tests.support.clocks import wait_for
from tests.support.lab import TINY, Lab, rows

HUB_TOKEN = "hf_canaryofthehub0000000000000000"
MAIL_PASSWORD = "canary-of-the-mail-server"
HOOK_PATH, HOOK_SECRET = "canary-in-a-path", "whsec_" + "Q2FuYXJ5" * 6
DATABASE = ("ftlab.db", "ftlab.db-wal")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Lab]:
    lab = Lab(
        tmp_path_factory.mktemp("guarded"),
        host="0.0.0.0",
        standby=False,
        smtp_url="smtp://me@127.0.0.1:9",
        smtp_password=MAIL_PASSWORD,
        ingress=pytestconfig.getoption("--ingress"),
    )
    lab.settings.home.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_TOKEN", HUB_TOKEN)
        yield lab
        if lab.process is not None and lab.process.poll() is None:
            lab.stop()


def run(lab: Lab, module: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module], env=lab.environment(), capture_output=True, text=True, timeout=120
    )


def test_two_users_of_a_service_on_a_network(guarded: Lab, tmp_path: Path) -> None:
    refused = run(guarded, "cluster.machine.supervisor")
    assert (refused.returncode, "no valid API key" in refused.stderr) == (1, True), refused.stderr
    first = run(guarded, "cluster.machine.first_key").stdout.strip()
    assert first.startswith("ftl_")
    assert run(guarded, "cluster.machine.first_key").stdout == ""

    guarded.start()

    url = network_url(guarded.settings)
    with pytest.raises(urllib.error.HTTPError) as nobody:
        urllib.request.urlopen(f"{url}/api/training/jobs", timeout=30)
    assert (nobody.value.code, nobody.value.headers["www-authenticate"][:6]) == (401, "Bearer")
    with Client(url, first) as admin:
        keys = {}
        for name in ("ann", "bob"):
            admin.users.add(name)
            keys[name] = admin.keys.create(["train"], user=name).key
    (tmp_path / "rows.jsonl").write_text(rows(20))
    with Client(url, keys["ann"]) as ann, Client(url, keys["bob"]) as bob:
        dataset = ann.datasets.upload(tmp_path / "rows.jsonl")
        job = ann.jobs.create({"model": TINY, "dataset": dataset.id, "training": {"max_steps": 100_000}})
        assert next(iter(ann.jobs.follow(job.id))).kind.value == "status"
        assert [found.id for found in ann.jobs.list()] == [job.id]
        assert list(bob.jobs.list()) == []
        with pytest.raises(errors.NotFoundError):
            bob.jobs.cancel(job.id)
        wait_for(lambda: (ann.jobs.get(job.id).step or 0) > 0, 240, "a step of the job")
        ann.notifications.save_channel("hook", f"https://127.0.0.1:9/{HOOK_PATH}", secret=HOOK_SECRET)
        ann.notifications.test_channel("hook")
        link = ann.datasets.url(dataset.id).url
        with urllib.request.urlopen(link, timeout=30) as reply:
            assert reply.read().count(b"\n") == 20
        cookie = _sign_in(url, keys["bob"])
        ann.jobs.cancel(job.id)
        ann.jobs.wait(job.id, timeout_s=120, raise_on_failure=False)
    with Client(url, first[:-4] + "zzzz") as stranger, pytest.raises(errors.AuthenticationError):
        stranger.jobs.get(job.id)
    _check_audit(url, first)
    _check_ports(guarded)
    secrets = {key.rpartition("_")[2] for key in (first, *keys.values())}
    secrets |= {cookie, HUB_TOKEN, MAIL_PASSWORD, HOOK_PATH, HOOK_SECRET, link.rpartition("/")[2]}
    _check_secrets(guarded, secrets)


def _sign_in(url: str, key: str) -> str:
    """The cookie that a browser gets for a key."""
    headers = {"content-type": "application/json", "origin": url}
    request = urllib.request.Request(f"{url}/api/session", json.dumps({"key": key}).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.headers["set-cookie"].partition("=")[2].partition(";")[0])


def _check_audit(url: str, key: str) -> None:
    """A wrong key is in the log with the address of its client, and not with one that the client claims."""
    claim = {"authorization": "Bearer ftl_wrong", "x-forwarded-for": "192.0.2.1"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{url}/api/training/queue", headers=claim), timeout=30)
    assert refused.value.code == 401
    with Client(url, key) as admin:
        wait_for(lambda: len(list(admin.audit(user="-"))) == 2, 30, "the entries about wrong keys")
        entries = list(admin.audit(user="-"))
    assert {entry.address for entry in entries} == {urlsplit(url).hostname}
    assert entries[0].action == "GET /api/training/queue"


def _check_secrets(lab: Lab, secrets: set[str]) -> None:
    """No secret is in the arguments of a process, or in a file other than those that are there for it."""
    mail, hub = _processes_with(lab, MAIL_PASSWORD), _processes_with(lab, HUB_TOKEN)
    assert [words for words in mail if "cluster.events.notifier" not in words] == []
    assert hub
    assert not [words for words in hub if "mlflow" in words or "cluster.events" in words]
    for secret in secrets - {MAIL_PASSWORD, HUB_TOKEN}:
        assert _processes_with(lab, secret) == []
    for process, words in lab._command_lines():
        assert not [secret for secret in secrets if secret in " ".join(words)], process
    found, folders = set(), (lab.settings.home, ray_temp_dir(lab.settings))
    files = [Path(place, name) for folder in folders for place, _, names in os.walk(folder) for name in names]
    files = [file for file in files if file.is_file() and not file.is_symlink()]
    assert {"api.log", "mlflow.db", "ftlab.db", "raylet.out"} <= {file.name for file in files}
    for file in files:
        with suppress(FileNotFoundError):  # the service has removed it meanwhile
            content = file.read_bytes()
            found |= {(file.name, secret) for secret in secrets if secret.encode() in content}
    of_channels = {(name, secret) for name in DATABASE for secret in (HOOK_PATH, HOOK_SECRET)}
    assert found - of_channels == set()
    assert found, "the channel is in the database"


def _processes_with(lab: Lab, secret: str) -> list[str]:
    """The command lines of the service's processes whose environment has a secret."""
    found = []
    for process, words in lab._command_lines():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if secret in " ".join(process.environ().values()):
                found.append(" ".join(words))
    return found


def _check_ports(lab: Lab) -> None:
    """Other machines reach the API's port; not MLflow, not the dashboard, and nothing else of HAProxy."""
    addresses: dict[int, set[str]] = {}
    for process in lab.processes():
        with suppress(psutil.NoSuchProcess):
            for each in process.net_connections("inet"):
                if each.status == psutil.CONN_LISTEN:
                    addresses.setdefault(each.laddr.port, set()).add(each.laddr.ip)
    settings = lab.settings
    assert addresses[settings.port] == {"0.0.0.0"}
    assert addresses[settings.mlflow_port] == addresses[settings.dashboard_port] == {"127.0.0.1"}
    for process in lab.find_by_word("haproxy"):
        with suppress(psutil.NoSuchProcess):
            ports = {each.laddr for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}
            assert {ip for ip, port in ports if port != settings.port} <= {"127.0.0.1"}
