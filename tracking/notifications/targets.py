"""URLs of channels: what kind of channel they are, whether they can be used, and what of them may be shown."""

import base64
import binascii
import re
from urllib.parse import SplitResult, unquote, urlsplit

from ftlab.errors import InvalidRequestError
from ftlab.schemas.notifications import SECRET_PREFIX, ChannelType
from ftlab.settings import Settings
from tracking.notifications.addresses import is_allowed_private

MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
_MAIL_ADDRESS = re.compile(r"[^@\s<>()\[\]\\,;:\"]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def type_of(url: str) -> ChannelType:
    """The type of channel that a URL belongs to. Raises `InvalidRequestError`; no message repeats the URL."""
    scheme = url.partition(":")[0].lower()
    if scheme in ("https", "http"):
        return ChannelType.WEBHOOK
    if scheme == "mailto" and not url[len(scheme) + 1 :].startswith("//"):
        return ChannelType.MAIL
    if _SCHEME.fullmatch(scheme) and "://" in url:
        return ChannelType.APPRISE
    raise _invalid_url(
        "url must begin with https:// for a webhook, with mailto: for mail, or be a URL of Apprise such as discord://..."
    )


def check_webhook(url: str, secret: str | None, settings: Settings) -> None:
    """Raise `InvalidRequestError` for a webhook that cannot be used."""
    parts = _split(url)
    if not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise _invalid_url("url must be a URL with a host, in printable ASCII and without spaces")
    if parts.username is not None or parts.fragment:
        raise _invalid_url("url must not contain a user, a password or a fragment")
    if parts.scheme == "http" and not is_allowed_private(parts.hostname, settings.notify_private_hosts):
        raise _invalid_url(
            "url must use https; http is for hosts in the private network that the setting notify_private_hosts names"
        )
    if secret is None:
        raise InvalidRequestError(
            f"A webhook needs a secret, which signs its requests: '{SECRET_PREFIX}' and {MIN_SECRET_BYTES} to "
            f"{MAX_SECRET_BYTES} random bytes in base64.",
            "webhook_secret_missing",
            "secret",
        )
    secret_bytes(secret)


def secret_bytes(secret: str) -> bytes:
    """The key in a webhook's secret. Raises `InvalidRequestError`."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise InvalidRequestError(
            f"secret must be '{SECRET_PREFIX}' and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64.",
            "invalid_webhook_secret",
            "secret",
        )
    return key


def check_mail(url: str, settings: Settings) -> None:
    """Raise `InvalidRequestError` for an address that cannot be used."""
    if not _MAIL_ADDRESS.fullmatch(mail_address(url)):
        raise _invalid_url("url must be one address, such as mailto:me@example.com")
    if settings.smtp_url is None:
        raise InvalidRequestError(
            "This service cannot send mail: its setting smtp_url is not set.", "mail_not_configured", "url"
        )


def mail_address(url: str) -> str:
    return unquote(url.partition(":")[2])


def shown_target(url: str) -> str:
    """What may be shown of a URL: many services put their secret into its path."""
    if type_of(url) is ChannelType.MAIL:
        return mail_address(url)
    if type_of(url) is ChannelType.APPRISE:
        # Apprise has its own rules: what it takes is not always a URL for `urlsplit`.
        return f"{url.partition(':')[0].lower()}://..."
    parts = _split(url)
    more = "/..." if parts.path.strip("/") or parts.query else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{more}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        assert parts.port is None or parts.port > 0
    except (ValueError, AssertionError):
        raise _invalid_url("url must be a URL with a valid host and port") from None
    return parts


def _invalid_url(message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{message}.", "invalid_channel_url", "url")
