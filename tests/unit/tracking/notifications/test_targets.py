"""Which URLs channels take, what is shown of them, and to which addresses they may lead."""

import base64
import socket

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.settings import Settings
from tests.unit.tracking.notifications.receiver import SECRET
from tracking.notifications.addresses import is_public, resolve
from tracking.notifications.outcomes import Undeliverable
from tracking.notifications.targets import check_mail, check_webhook, shown_target, type_of

CANARY = "canary-4711"
LAN = Settings(notify_private_hosts=("hooks.lan",), smtp_url="smtp://127.0.0.1")


@pytest.mark.parametrize(
    ("url", "type", "shown"),
    [
        (f"https://example.com/{CANARY}", "webhook", "https://example.com/..."),
        (f"https://example.com:8443?key={CANARY}", "webhook", "https://example.com:8443/..."),
        ("https://example.com/", "webhook", "https://example.com"),
        ("mailto:me@example.com", "mail", "me@example.com"),
        (f"discord://{CANARY}/token", "apprise", "discord://..."),
        (f"mailto://user:{CANARY}@example.com", "apprise", "mailto://..."),
        (f"JSON://user:[{CANARY}@example.com", "apprise", "json://..."),
    ],
)
def test_the_scheme_names_the_type_and_secrets_are_not_shown(url, type, shown):
    assert type_of(url) == type
    assert shown_target(url) == shown


@pytest.mark.parametrize("url", ["example.com", "", "://x", "file", "java script://x"])
def test_other_texts_are_refused(url):
    with pytest.raises(InvalidRequestError):
        type_of(url)


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{CANARY}@example.com",
        f"https:///{CANARY}",
        f"https://example.com:99999/{CANARY}",
        f"https://example.com/{CANARY}#part",
        f"https://example.com/ {CANARY}",
        f"https://example.com/\x01{CANARY}",
        f"https://example.com/\x7f{CANARY}",
        f"https://[::1/{CANARY}",
        f"http://example.com/{CANARY}",
    ],
)
def test_webhooks_that_cannot_be_used_are_refused_without_repeating_them(url):
    with pytest.raises(InvalidRequestError) as refused:
        check_webhook(url, SECRET, LAN)
    assert refused.value.param == "url"
    assert CANARY not in refused.value.message


def test_plain_http_is_for_private_hosts_that_are_named():
    check_webhook("http://hooks.lan/x", SECRET, LAN)
    check_webhook("https://example.com/x", SECRET, LAN)


@pytest.mark.parametrize(
    "secret",
    [None, "", CANARY, f"whsec_{CANARY}!", "whsec_" + base64.b64encode(b"short").decode(), SECRET[6:]],
)
def test_secrets_have_the_form_of_the_specification(secret):
    with pytest.raises(InvalidRequestError) as refused:
        check_webhook("https://example.com", secret, LAN)
    assert refused.value.param == "secret"
    assert CANARY not in refused.value.message


@pytest.mark.parametrize(
    "url", ["mailto:", "mailto:me", "mailto:a@b.example,c@d.example", "mailto:a%0ABcc:x@b.example"]
)
def test_mail_goes_to_one_address(url):
    with pytest.raises(InvalidRequestError):
        check_mail(url, LAN)


def test_mail_needs_a_server():
    check_mail("mailto:me@example.com", LAN)
    with pytest.raises(InvalidRequestError, match="smtp_url"):
        check_mail("mailto:me@example.com", Settings())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        *((address, False) for address in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254")),
        *((address, False) for address in ("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1")),
        *((address, False) for address in ("::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "::", "ff02::1")),
        *((address, False) for address in ("64:ff9b::a00:1", "2002:a00:1::1", "2001:0:1::1", "::127.0.0.1", "fec0::1")),
    ],
)
def test_public_addresses(address, expected):
    assert is_public(address) is expected


def test_a_name_with_one_private_address_is_refused(monkeypatch):
    def lookup(host, port, **_):
        return [(2, 1, 6, "", (address, port)) for address in ("93.184.215.14", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(Undeliverable, match="notify_private_hosts"):
        resolve("both.example", 443, ())
    assert resolve("both.example", 443, ("Both.Example",)) == "93.184.215.14"
    assert resolve("both.example", 443, ("*",)) == "93.184.215.14"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1"])
def test_other_spellings_of_this_machine_are_refused(host):
    with pytest.raises(Undeliverable):
        resolve(host, 80, ())
