"""Ports that nobody else is given before they are taken."""

import socket
from pathlib import Path

import pytest

from cluster.machine import ports
from ftlab.errors import InvalidRequestError
from ftlab.settings import Settings


def test_free_ports_are_different_and_can_be_taken():
    found = ports.free_ports(5)
    assert len(set(found)) == 5
    for port in found:
        assert ports.FIRST <= port < ports.END
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_a_port_that_is_taken_is_not_free(monkeypatch: pytest.MonkeyPatch):
    [first] = ports.free_ports(1)
    with socket.create_server(("127.0.0.1", first)):
        monkeypatch.setattr(ports, "FIRST", first)
        monkeypatch.setattr(ports, "END", first + 1)
        with pytest.raises(OSError, match="no free ports"):
            ports.free_ports(1)
    with pytest.raises(OSError, match="no free ports"):
        ports.free_ports(1, [first])


def test_a_port_of_the_settings_that_is_taken_is_named_with_its_option(tmp_path: Path):
    [port] = ports.free_ports(1)
    settings = Settings(home=tmp_path, mlflow_port=port)
    ports.refuse_taken_port(settings, "mlflow_port")
    with socket.create_server(("127.0.0.1", port)), pytest.raises(InvalidRequestError) as refused:
        ports.refuse_taken_port(settings, "mlflow_port")
    assert (refused.value.code, refused.value.param) == ("port_taken", "mlflow_port")
    assert f"Port {port} is taken. Choose another with --mlflow-port" in refused.value.message
