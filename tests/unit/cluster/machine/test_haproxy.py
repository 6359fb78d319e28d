"""HAProxy as Ray configures it, and what is left open after our program has looked at the configuration."""

import json
import re
import shutil
import socket
import stat
import subprocess
import time
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.machine import haproxy
from cluster.machine.ports import free_ports
from ftlab.settings import Settings

pytestmark = pytest.mark.skipif(not haproxy.has_haproxy(), reason="Ray brings HAProxy on Linux only")


def test_nothing_in_rays_own_template_stays_open_to_other_machines(tmp_path: Path) -> None:
    template = _source("haproxy_templates.py")
    assert [bind for bind in _binds(template) if bind.startswith((":", "*:"))], "Ray has changed its template"
    file = tmp_path / "haproxy.cfg"
    file.write_text(template, "utf-8")

    _run(tmp_path, "-c", "-f", str(file))

    after = file.read_text("utf-8")
    assert not [bind for bind in _binds(after) if bind.startswith((":", "*"))]
    assert "127.0.0.1:{{ config.stats_port }}" in after
    assert "mode 666" in template
    assert "mode 666" not in after
    assert len(after.splitlines()) == len(template.splitlines()) + 1


def test_on_a_network_the_port_of_the_api_alone_stays_open(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text("  bind *:8123\n  bind *:81234\n  bind :20001\n  bind *:20002\n", "utf-8")

    _run(tmp_path, "-c", "-f", str(file), host="0.0.0.0", port=8123)

    assert _binds(file.read_text("utf-8")) == ["*:8123", "127.0.0.1:81234", "127.0.0.1:20001", "127.0.0.1:20002"]


def test_the_program_becomes_haproxy_with_the_same_arguments(tmp_path: Path) -> None:
    done = _run(tmp_path, "-v")
    assert "HAProxy version" in done.stdout


def test_haproxys_own_errors_have_the_format_of_the_service(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    file = tmp_path / "haproxy.cfg"
    file.write_text(CONFIG.format(port=port), "utf-8")
    environment = haproxy.ingress_environment(Settings(home=tmp_path), tmp_path / "haproxy")
    server = subprocess.Popen([environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(file)])
    try:
        away, status, retry_after = _ask(port, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (status, away["code"], away["type"], retry_after) == (503, "service_unavailable", "api_error", "5")
        assert away["request_id"] is None
    finally:
        server.kill()
        server.wait(10)


def test_the_address_of_a_client_is_passed_on_and_none_that_it_claims(tmp_path: Path) -> None:
    port, replica = free_ports(2)
    file = tmp_path / "haproxy.cfg"
    config = CONFIG.replace("frontend api", "frontend http_frontend").replace("127.0.0.1:1\n", f"127.0.0.1:{replica}\n")
    file.write_text(config.format(port=port), "utf-8")
    settings = Settings(home=tmp_path, host="0.0.0.0", port=port)
    environment = haproxy.ingress_environment(settings, tmp_path / "haproxy")
    listener = socket.create_server(("127.0.0.1", replica))
    server = subprocess.Popen([environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(file)])
    try:
        mine = socket.gethostbyname(socket.gethostname())
        assert _forwarded(listener, "127.0.0.1", port, "192.0.2.1") == ["192.0.2.1"]
        assert _forwarded(listener, "127.0.0.1", port, None) == []
        if not mine.startswith("127."):
            assert _forwarded(listener, mine, port, "192.0.2.1") == [mine]
            assert _forwarded(listener, mine, port, None) == [mine]
    finally:
        server.kill()
        server.wait(10)
        listener.close()


def test_sockets_lie_where_nobody_else_can_enter_and_ports_are_distinct(tmp_path: Path) -> None:
    folder = tmp_path / "haproxy"
    environment = haproxy.ingress_environment(Settings(home=tmp_path), folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(Path(value).is_relative_to(folder) for name, value in environment.items() if value.startswith("/"))
    ports = [value for name, value in environment.items() if name.endswith("_PORT")]
    assert len(set(ports)) == len(ports) == 4


def test_every_name_is_one_that_ray_reads(tmp_path: Path) -> None:
    source = _source("constants.py")
    environment = haproxy.ingress_environment(Settings(home=tmp_path), tmp_path / "haproxy")
    assert all(f'"{name}"' in source for name in environment)


def test_the_python_proxy_needs_nothing(tmp_path: Path) -> None:
    environment = haproxy.ingress_environment(Settings(home=tmp_path, ingress="python"), tmp_path / "haproxy")
    assert environment == {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
    assert not (tmp_path / "haproxy").exists()


CONFIG = """
global
    nbthread 1
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    errorfile 502 /nowhere
    errorfile 503 /nowhere
    errorfile 504 /nowhere
frontend api
    bind *:{port}
    default_backend replicas
backend replicas
    server away 127.0.0.1:1
"""


def _forwarded(listener: socket.socket, host: str, port: int, claimed: str | None) -> list[str]:
    """The addresses that a replica reads in a request to this host with a claimed address."""
    deadline = time.monotonic() + 10
    while True:
        try:
            client = socket.create_connection((host, port), timeout=10)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "HAProxy does not start"
            time.sleep(0.05)
    claim = f"x-forwarded-for: {claimed}\r\n" if claimed else ""
    with client:
        client.sendall(f"GET /health HTTP/1.1\r\nhost: x\r\n{claim}\r\n".encode())
        replica, _ = listener.accept()
        with replica:
            head = replica.recv(65536).decode().lower()
    return re.findall(r"^x-forwarded-for: (\S+)\r$", head, re.MULTILINE)


def _ask(port: int, request: str) -> tuple[dict[str, Any], int, str | None]:
    """The error that HAProxy answers with, its status, and `retry-after`."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(request.encode())
                response = HTTPResponse(connection)
                response.begin()
                return json.loads(response.read())["error"], response.status, response.getheader("retry-after")
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "HAProxy does not start"
            time.sleep(0.05)


def _run(folder: Path, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    environment = haproxy.ingress_environment(Settings(home=folder, **settings), folder / "haproxy")
    program = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
    assert shutil.which(program)
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=10)


def _source(name: str) -> str:
    return (Path(ray.__file__).parent / "serve" / "_private" / name).read_text("utf-8")


def _binds(config: str) -> list[str]:
    return re.findall(r"^ *bind (\S+)", config, re.MULTILINE)
