"""Deliveries through Apprise, in its own process, to a real server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import apprise
import pytest
from apprise.attachment.file import AttachFile

from ftlab.errors import InvalidRequestError
from ftlab.schemas.notifications import Notification, NotificationKind
from tests.unit.tracking.samples import NOW
from tracking.notifications.apprise_process import Guard, refuse_files
from tracking.notifications.apprise_url import check_apprise, send_apprise
from tracking.notifications.outcomes import Undeliverable

DONE = Notification(
    id="ntf-1", kind=NotificationKind.COMPLETED, job_id="job-1", title="A job completed", message="It is.", at=NOW
)


@pytest.fixture
def server() -> Iterator[tuple[list[dict[str, str]], str]]:
    documents = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            documents.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield documents, f"json://127.0.0.1:{httpd.server_address[1]}/x"
    httpd.shutdown()
    httpd.server_close()


def test_apprise_delivers_to_private_addresses_only_where_they_are_allowed(server):
    documents, url = server
    with pytest.raises(Undeliverable, match="notify_private_hosts"):
        send_apprise(url, DONE, private_hosts=())
    assert documents == []
    send_apprise(url, DONE, private_hosts=("127.0.0.1",))
    assert [(each["title"], each["message"]) for each in documents] == [("A job completed", "It is.")]


def test_urls_that_apprise_does_not_understand_are_refused():
    with pytest.raises(InvalidRequestError) as refused:
        check_apprise("nonsense://canary-4711")
    assert "canary-4711" not in refused.value.message


def test_a_url_cannot_name_files_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(AttachFile, "location", AttachFile.location)  # set back at the end
    file = tmp_path / "keys.json"
    file.write_text('{"type": "message"}')
    url = f"workflows://93.184.215.14/{'a' * 32}/{'b' * 43}/?template={file}"
    service = apprise.Apprise.instantiate(url)
    assert service is not None
    assert service.template[0].path == str(file)
    refuse_files()
    assert not apprise.Apprise.instantiate(url).template[0].path


@pytest.mark.parametrize(
    ("event", "details", "is_refused"),
    [
        ("socket.connect", (None, ("10.0.0.1", 443)), True),
        ("socket.connect", (None, ("::1", 443, 0, 0)), True),
        ("socket.connect", (None, ("169.254.169.254", 80)), True),
        ("socket.connect", (None, ("localhost", 80)), True),
        ("socket.connect", (None, "/run/dbus/system_bus_socket"), True),
        ("socket.sendto", (None, ("10.0.0.1", 514)), True),
        ("socket.sendmsg", (None, ("10.0.0.1", 514)), True),
        ("subprocess.Popen", ("curl", [], None, None), True),
        ("syslog.openlog", ("x",), True),
        ("socket.connect", (None, ("93.184.215.14", 443)), False),
        ("socket.connect", (None, ("127.0.0.1", 8080)), False),
        ("socket.sendmsg", (None, None), False),
        ("open", ("/tmp/x", "r", 0), False),
    ],
)
def test_the_guard(event, details, is_refused):
    guard = Guard(("127.0.0.1",))
    if is_refused:
        with pytest.raises(PermissionError):
            guard(event, details)
    else:
        guard(event, details)
