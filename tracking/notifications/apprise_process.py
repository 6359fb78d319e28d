"""The process that hands one notification to Apprise: `python -m tracking.notifications.apprise_process`.

It reads a JSON document from its standard input and writes one to its standard output. Apprise connects wherever a URL
leads, so this process refuses, below Apprise, every connection to an address that is not allowed, and every other
process. Parameters of some URLs name files of this machine, such as `template` and `keyfile`; these are not read. Its
caller ends it when it takes too long.
"""

import json
import socket
import sys
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from tracking.notifications.addresses import ALL_HOSTS, is_public

REFUSED_EVENTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "syslog.")
"""Audit events of what no delivery needs: other processes, and the log of the machine."""
CONNECTING_EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg")


class Guard:
    """An audit hook that refuses connections to private addresses other than those of `private_hosts`."""

    def __init__(self, private_hosts: Collection[str]) -> None:
        self._allows_all = ALL_HOSTS in private_hosts
        self._allowed = {str(entry[4][0]) for host in private_hosts if host != ALL_HOSTS for entry in _lookup(host)}
        self.has_refused_address = False

    def __call__(self, event: str, details: tuple[Any, ...]) -> None:
        if event.startswith(REFUSED_EVENTS):
            raise PermissionError("A delivery starts no process.")
        # Without an address, the socket is connected already.
        if event in CONNECTING_EVENTS and details[1] is not None and not self._allows_all:
            address = details[1][0] if isinstance(details[1], tuple) else ""
            if address not in self._allowed and not _is_public(address):
                self.has_refused_address = True
                raise PermissionError("This address is private.")


def main() -> int:
    request = json.load(sys.stdin)
    import apprise

    refuse_files()
    guard = Guard(request.get("private_hosts", ()))
    sys.addaudithook(guard)
    service = apprise.Apprise.instantiate(request["url"])
    answer = {"is_supported": service is not None}
    if service is not None and "title" in request:
        answer["is_sent"] = bool(service.notify(title=request["title"], body=request["body"]))
        answer["has_refused_address"] = guard.has_refused_address
    json.dump(answer, sys.stdout)
    return 0


def refuse_files() -> None:
    """Have Apprise read no file of this machine."""
    from apprise.attachment.file import AttachFile
    from apprise.common import ContentLocation

    AttachFile.location = ContentLocation.INACCESSIBLE


def _lookup(host: str) -> list[Any]:
    try:
        return list(socket.getaddrinfo(host, None))
    except OSError:
        return []


def _is_public(address: str) -> bool:
    try:
        ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return is_public(address)


if __name__ == "__main__":
    sys.exit(main())
