"""Where channels may connect: public addresses, and private ones that the settings name.

A URL of a channel comes from a user of the API. Without this check, it would reach whatever the machine reaches: other
services on it, the local network, the metadata service of a cloud.
"""

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from tracking.notifications.outcomes import Undeliverable

ALL_HOSTS = "*"
_PUBLIC_IPV6 = ip_network("2000::/3")
_CARRIERS_OF_IPV4 = tuple(map(ip_network, ("2002::/16", "2001::/32")))
"""Public IPv6 networks whose addresses lead to an IPv4 address, which may be private."""


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found not in _PUBLIC_IPV6 or any(found in network for network in _CARRIERS_OF_IPV4):
            return False
    return found.is_global and not found.is_multicast


def is_allowed_private(host: str, private_hosts: Collection[str]) -> bool:
    """Whether the settings allow this host to have a private address."""
    return ALL_HOSTS in private_hosts or host.lower() in {each.lower() for each in private_hosts}


def resolve(host: str, port: int, private_hosts: Collection[str]) -> str:
    """The address to connect to. The caller connects to it, and not to the name, which may resolve differently later.

    Raises `Undeliverable` when the host does not resolve, or to a private address without being allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Undeliverable(f"The host {host!r} cannot be resolved.") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not is_allowed_private(host, private_hosts) and not all(map(is_public, addresses)):
        raise Undeliverable(
            f"The host {host!r} has a private address; the setting notify_private_hosts does not name it."
        )
    return addresses[0]
