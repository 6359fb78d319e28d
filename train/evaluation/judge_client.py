"""Requests to a judge: a model behind an OpenAI-compatible API, asked at temperature 0."""

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from ftlab.backoff import backoff_s, retry_after_s
from ftlab.errors import InvalidRequestError, ServiceUnavailableError
from ftlab.schemas.judge_servers import JudgeServer
from ftlab.settings import secret_of

MAX_TRIES = 6
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0
LONGEST_ASKED_S = 60.0
"""Longest pause that a judge may ask for."""
CONNECT_TIMEOUT_S = 10.0
MAX_REPLY_BYTES = 4 * 1024**2
"""Longest reply that is read: many times `max_tokens`."""
REFUSED_REQUESTS = frozenset({400, 413, 422})
"""Statuses of a judge that refuses one request, such as one that is too long, and may accept others."""
TEMPORARY = frozenset({408, 409, 425, 429})
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


@dataclass(frozen=True)
class _Reply:
    """What a judge replied; `content` is the body of a success, unless that is longer than `MAX_REPLY_BYTES`."""

    status: int
    retry_after: str | None
    content: bytes | None = None


class RequestRefusedError(Exception):
    """The judge refused this request; the message says how."""


class JudgeClient:
    """One judge. Its calls block and can be made by several threads."""

    def __init__(self, name: str, server: JudgeServer, seed: int) -> None:
        """Raise `InvalidRequestError` where the key of the judge is missing."""
        self.name, self.server = name, server
        self._seed = seed
        self._closed = threading.Event()
        key = secret_of(server.key_env) if server.key_env else None
        if server.key_env and (key is None or not (key.isascii() and key.isprintable())):
            raise InvalidRequestError(
                f"Judge '{name}' needs its API key in the environment variable {server.key_env} of the service on this "
                "machine; set it and start the service again.",
                "invalid_config",
                "metrics",
            )
        self._http = httpx2.Client(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(server.timeout_s, connect=min(server.timeout_s, CONNECT_TIMEOUT_S)),
            limits=httpx2.Limits(max_connections=server.max_concurrency),
            follow_redirects=False,
        )

    def ask(self, prompt: str) -> str:
        """The reply to a prompt; empty where the judge says nothing.

        Raise `RequestRefusedError` for a request that the judge does not accept, `InvalidRequestError` for a judge that
        accepts none, and `ServiceUnavailableError` (`judge_unavailable`) for one that does not answer in `MAX_TRIES`
        tries.
        """
        problem = ""
        for num_tries in range(1, MAX_TRIES + 1):
            wait_s = backoff_s(num_tries, first_s=FIRST_BACKOFF_S, longest_s=LONGEST_BACKOFF_S)
            try:
                reply = self._post(self._request(prompt))
            except (httpx2.TimeoutException, TimeoutError):
                problem = f"it did not answer within {self.server.timeout_s:g} s"
            except (httpx2.HTTPError, RuntimeError) as error:  # RuntimeError: the client was closed
                problem = f"the connection failed ({type(error).__name__})"
            else:
                if reply.content is not None and (text := _text_of(reply.content)) is not None:
                    return text
                problem = self._problem(reply.status)
                wait_s = max(wait_s, min(LONGEST_ASKED_S, retry_after_s(reply.retry_after) or 0.0))
            if self._closed.is_set() or (num_tries < MAX_TRIES and self._closed.wait(wait_s)):
                problem = "the evaluation ended"
                break
        raise ServiceUnavailableError(
            f"Judge '{self.name}' does not answer: {problem}. What was measured is kept; resume the evaluation once "
            "the judge answers again.",
            "judge_unavailable",
        )

    def close(self) -> None:
        """End all calls."""
        self._closed.set()
        self._http.close()

    def _post(self, document: dict[str, Any]) -> "_Reply":
        """Send a request once. Raise `TimeoutError` for a judge that sends its reply for longer than `timeout_s`."""
        ends_at = time.monotonic() + self.server.timeout_s
        with self._http.stream("POST", f"{self.server.url}/chat/completions", json=document) as reply:
            retry_after = reply.headers.get("retry-after")
            if not reply.is_success:  # its body is not read: nobody needs it, and it may have no end
                return _Reply(reply.status_code, retry_after)
            content = bytearray()
            for part in reply.iter_bytes():
                content += part
                if len(content) > MAX_REPLY_BYTES:
                    return _Reply(reply.status_code, retry_after)
                if time.monotonic() > ends_at:
                    raise TimeoutError
            return _Reply(reply.status_code, retry_after, bytes(content))

    def _request(self, prompt: str) -> dict[str, Any]:
        return {
            "model": self.server.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "seed": self._seed,
            "max_tokens": self.server.max_tokens,
        }

    def _problem(self, status: int) -> str:
        """What a reply without a text says; bodies are not repeated, as some contain parts of the key."""
        if status in REFUSED_REQUESTS:
            raise RequestRefusedError(f"HTTP status {status}")
        if 200 <= status < 300:
            return "its reply is not one of the chat completions API"
        if status in TEMPORARY or status >= 500:
            return f"HTTP status {status}"
        what = "the service must have a valid API key for it" if status in (401, 403) else "check its url and model"
        raise InvalidRequestError(
            f"Judge '{self.name}' refuses all requests (HTTP status {status}): {what} in the setting judges.",
            "invalid_config",
            "metrics",
        )


def parse_score(reply: str, lowest: float, highest: float) -> float | None:
    """The score in a reply such as `{"score": 7}`; `None` for another reply, and for a score beyond the scale."""
    score = _object(reply).get("score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    # NaN is within no bounds, and a whole number of hundreds of digits is no float.
    return float(score) if lowest <= score <= highest else None


def parse_choice(reply: str) -> str | None:
    """`A`, `B` or `tie` from a reply such as `{"better": "A"}`; `None` for any other."""
    choice = _object(reply).get("better")
    return choice if choice in ("A", "B", "tie") else None


def filled(rubric: str, values: Mapping[str, str]) -> str:
    """The rubric with each placeholder replaced once: what an answer contains is never taken for a placeholder."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), rubric)


def _object(reply: str) -> dict[str, Any]:
    """The JSON object that a reply consists of, also within a Markdown code block; empty for any other reply."""
    text = reply.strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text_of(body: bytes) -> str | None:
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if isinstance(content, str):
        return content.encode("utf-8", "replace").decode("utf-8")  # halves of surrogate pairs cannot be stored
    return "" if content is None else None
