"""A service that other machines of the network reach: with keys, for two users."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ftlab import Client, errors
from ftlab.cli.network import network_url
from tests.support.lab import TINY, Lab, rows


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Lab]:
    lab = Lab(
        tmp_path_factory.mktemp("guarded"),
        host="0.0.0.0",
        standby=False,
        ingress=pytestconfig.getoption("--ingress"),
    )
    lab.settings.home.mkdir(exist_ok=True)
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
        ann.jobs.cancel(job.id)
    with Client(url, first[:-4] + "zzzz") as stranger, pytest.raises(errors.AuthenticationError):
        stranger.jobs.get(job.id)
    _check_ports(guarded)


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
