"""Delivery through Apprise (github.com/caronc/apprise), in a process of its own that is ended after a while."""

import json
import subprocess
import sys
from collections.abc import Collection
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas.notifications import Notification
from tracking.notifications.outcomes import Undeliverable

TIMEOUT_S = 30.0
"""For the start of the process too."""


def check_apprise(url: str) -> None:
    """Raise `InvalidRequestError` for a URL that Apprise does not understand; the message does not repeat it."""
    try:
        answer = _ask({"url": url})
    except Undeliverable:
        answer = {}
    if not answer.get("is_supported"):
        raise InvalidRequestError(
            "url is none that Apprise understands; its documentation lists the services and their URLs.",
            "invalid_channel_url",
            "url",
        )


def send_apprise(url: str, notification: Notification, *, private_hosts: Collection[str]) -> None:
    """Deliver the notification to the service that the URL names. Raises `Undeliverable`."""
    request = {
        "url": url,
        "title": notification.title,
        "body": notification.message,
        "private_hosts": list(private_hosts),
    }
    answer = _ask(request)
    if answer.get("has_refused_address"):
        raise Undeliverable("The URL leads to a private address that the setting notify_private_hosts does not name.")
    if not answer.get("is_sent"):
        raise Undeliverable("The service did not take the message; check the URL of the channel.")


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """The answer of the process. Its errors are not shown: they may repeat the URL, which holds secrets."""
    command = [sys.executable, "-m", "tracking.notifications.apprise_process"]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        answer = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 and done.stdout else None
    except subprocess.TimeoutExpired:
        raise Undeliverable(f"The service did not answer within {TIMEOUT_S:.0f} s.") from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Undeliverable("Apprise could not be used for this URL.")
    return answer
