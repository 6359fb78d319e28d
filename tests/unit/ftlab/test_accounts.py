"""Users and keys in the SDK and the CLI, against the real HTTP service."""

import stat
import sys
from collections.abc import Iterator

import pytest

from ftlab import errors
from ftlab.cli import network, up
from ftlab.cli.output import Output
from ftlab.client import Client
from ftlab.settings import Settings, login_file
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.ftlab.conftest import QUICK
from tests.unit.tracking.samples import add_job


@pytest.fixture
def admin(world) -> Iterator[Client]:
    """A client with the first key of the service."""
    with Client(world.url(""), retry=QUICK) as client:
        key = client.keys.create(["admin"], name="first").key
    with Client(world.url(""), key, retry=QUICK) as client:
        yield client


@pytest.fixture
def cli(world, admin, monkeypatch, capsys, tmp_path) -> Cli:
    """The command line of the admin."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FTLAB_API_KEY", admin._transport.endpoint.api_key)
    return Cli(world.url(""), monkeypatch, capsys)


def test_users_and_keys_in_the_sdk(world, admin):
    assert admin.session().user == "local"
    admin.users.add("ann")
    created = admin.keys.create(["train"], user="ann", name="laptop", expires_in_days=1)
    add_job(world.store, name="of-local")

    with Client(world.url(""), created.key, retry=QUICK) as ann:
        assert (ann.session().user, list(ann.jobs.list())) == ("ann", [])
        assert [key.name for key in ann.keys.list()] == ["laptop"]
        with pytest.raises(errors.NotFoundError):
            ann.jobs.get("of-local")
        with pytest.raises(errors.PermissionDeniedError):
            ann.users.list()
        rotated = ann.keys.rotate(created.record.id, grace_hours=0)
        with pytest.raises(errors.AuthenticationError):
            ann.session()
    with Client(world.url(""), rotated.key, retry=QUICK) as ann:
        admin.users.disable("ann")
        with pytest.raises(errors.AuthenticationError):
            ann.session()
        admin.users.enable("ann")
        assert ann.session().key_id == rotated.record.id
        assert admin.keys.revoke(rotated.key).is_valid is False
        with pytest.raises(errors.AuthenticationError):
            list(ann.jobs.follow("job-1"))
    assert [user.name for user in admin.users.list()] == ["ann", "local"]


def test_an_admin_acts_for_another_user(world, admin):
    admin.users.add("ann")
    job = add_job(world.store, owner="ann", name="of-ann")
    key = admin._transport.endpoint.api_key
    with Client(world.url(""), key, retry=QUICK, owner="ann") as for_ann:
        assert [found.id for found in for_ann.jobs.list()] == [job.id]
        assert for_ann.jobs.cancel("of-ann").status.value in ("cancelled", "cancelling")
    with Client(world.url(""), key, retry=QUICK, owner="bob") as for_bob, pytest.raises(errors.NotFoundError):
        list(for_bob.jobs.list())


def test_the_command_line_creates_shows_and_ends_keys(cli):
    assert cli("users", "add", "ann").code == 0
    created = cli("keys", "create", "--user", "ann", "--scope", "read,train", "--expires", "90d", "--name", "laptop")
    key = created.out.strip()
    assert key.startswith("ftl_")
    assert key not in created.err
    key_id = key.split("_")[1]
    [header, row] = cli("keys", "ls", "--user", "ann").out.splitlines()
    assert header.split("\t")[:4] == ["ID", "NAME", "SCOPES", "STATE"]
    assert row.split("\t")[:4] == [key_id, "laptop", "read,train", "valid"]
    assert cli("keys", "rotate", key_id, "--grace", "1h").out.startswith("ftl_")
    assert cli("keys", "revoke", key_id, "--yes").code == 0
    assert "revoked" in cli("keys", "ls", "--user", "ann").out
    assert cli("users", "disable", "ann", "--yes").code == 0
    assert "disabled" in cli("users", "ls").out
    assert cli("users", "enable", "ann").code == 0


def test_the_command_line_refuses_what_is_no_scope_or_time(cli):
    refused = cli("keys", "create", "--scope", "write")
    assert (refused.code, "The scopes are read, train, admin" in " ".join(refused.err.split())) == (2, True)
    assert cli("keys", "create", "--expires", "soon").code == 2
    assert cli("keys", "revoke", "nosuchkey", "--yes").code == 3


def test_login_stores_a_key_that_works_and_logout_removes_it(cli, admin, monkeypatch):
    key = admin._transport.endpoint.api_key
    monkeypatch.delenv("FTLAB_API_KEY")
    assert cli("ls").code == 4

    done = cli("login", "--key", key)

    assert done.code == 0
    assert key not in done.err + done.out
    assert stat.S_IMODE(login_file().stat().st_mode) == 0o600
    monkeypatch.delenv("FTLAB_SERVER")
    assert cli("ls").code == 0
    assert cli("login", "--key", key[:-4] + "zzzz").code == 4
    assert cli("ls").code == 0
    assert cli("logout").code == 0
    assert not login_file().exists()


def test_a_key_comes_from_standard_input_too(cli, admin, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(admin._transport.endpoint.api_key + "\n"))
    monkeypatch.delenv("FTLAB_API_KEY")
    assert cli("login").code == 0
    assert cli("ls").code == 0


def test_a_service_without_keys_stores_none(world, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    run = Cli(world.url(""), monkeypatch, capsys)
    assert "needs no key" in run("login", "--key", "ftl_x").err
    assert not login_file().exists()


def test_the_audit_log_on_the_command_line(cli, world):
    cli("users", "add", "ann")
    cli("quota", "--set", "weight=2")
    import time

    deadline = time.monotonic() + 10
    while "/api/quota" not in (found := cli("audit").out) and time.monotonic() < deadline:
        time.sleep(0.1)
    [header, first, second] = found.splitlines()
    assert header.split("\t") == ["AT", "USER", "FOR", "WHAT", "STATUS", "FROM", "KEY"]
    assert first.split("\t")[1:6] == ["local", "", "PUT /api/quota", "200", "127.0.0.1"]
    assert second.split("\t")[3] == "POST /api/users"


def test_up_on_a_network_prints_the_first_key_once(world, monkeypatch, capsys, tmp_path):
    """With a stand-in for the supervisor, and the real program that creates the key."""
    real = up.service_command
    monkeypatch.setattr(
        up, "service_command", lambda module: [sys.executable, "-c", ""] if module == up.SUPERVISOR else real(module)
    )
    monkeypatch.setattr(up, "_wait_until_ready", lambda *_: up_state())
    run = Cli(world.url(""), monkeypatch, capsys)
    arguments = ("up", "--detach", "--home", tmp_path / "home", "--host", "0.0.0.0")

    first, second = run(*arguments), run(*arguments)

    assert first.code == 0, first.err
    assert first.out.startswith("ftl_")
    assert "Every caller needs an API key" in first.err
    assert "ftl_" not in second.out + second.err
    assert "ftl_" not in (tmp_path / "home" / "logs" / "supervisor.log").read_text()
    recovered = run("keys", "recover", "--home", tmp_path / "home").out
    assert recovered.startswith("ftl_")
    assert recovered != first.out


def test_a_terminal_shows_a_qr_code_that_signs_in(monkeypatch, capsys):
    import segno

    shown = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(network, "create_key", lambda *_: "ftl_abc_def")
    monkeypatch.setattr(network, "network_url", lambda _: "http://192.168.1.20:8000")
    make = segno.make
    monkeypatch.setattr(segno, "make", lambda text, **options: shown.append(text) or make(text, **options))
    network.show_way_in(Settings(host="0.0.0.0"), [], Output())
    assert shown == ["http://192.168.1.20:8000/#key=ftl_abc_def"]
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) > 10
    assert "ftlab login --server http://127.0.0.1:8000" in printed.err


def up_state():
    from ftlab.cli.service_file import ServiceState

    return ServiceState(1, "ready")
