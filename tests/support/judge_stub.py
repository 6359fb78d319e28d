"""A judge with the chat completions API: its verdicts follow from the prompt, and it fails as often as a test says."""

import asyncio
import json
import re
import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

KEY = "judge-key-canary"
MODEL = "judge-1"


def by_length(prompt: str) -> str:
    """A verdict: the length of the answer up to 10, or the longer of two answers."""
    if pair := re.search(r"Answer of A:\n(.*)\n\nAnswer of B:\n(.*?)\n\nReply with", prompt, re.DOTALL):
        first, second = map(len, pair.groups())
        return json.dumps({"better": "A" if first > second else "B" if second > first else "tie"})
    answer = re.search(r"Answer:\n(.*)\n\nReply with", prompt, re.DOTALL)
    assert answer is not None, prompt
    return json.dumps({"score": max(1, min(10, len(answer[1]))), "reason": "Its length."})


class JudgeStub:
    """`failures` are the statuses of the next replies, where 0 stands for a reply that comes too late."""

    def __init__(self, verdict: Callable[[str], str | None] = by_length) -> None:
        self.verdict = verdict
        self.failures: list[int] = []
        self.late_s = 0.5
        self.delay_s = 0.0
        self.asked: list[dict[str, Any]] = []
        """Requests that were answered."""
        self.most_at_once = 0
        self._num_open = 0
        self._lock = threading.Lock()
        self.app = FastAPI()
        self.app.add_api_route("/v1/chat/completions", self._reply, methods=["POST"])

    async def _reply(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": {"message": f"Wrong key {request.headers.get('authorization')}."}}, 401)
        asked = await request.json()
        with self._lock:
            failure = self.failures.pop(0) if self.failures else None
            self._num_open += 1
            self.most_at_once = max(self.most_at_once, self._num_open)
        try:
            await asyncio.sleep(self.late_s if failure == 0 else self.delay_s)
        finally:
            with self._lock:
                self._num_open -= 1
        if failure is not None:
            return Response("<html>busy</html>", failure or 200, headers={"retry-after": "0"})
        with self._lock:
            self.asked.append(asked)
        message = {"role": "assistant", "content": self.verdict(asked["messages"][0]["content"])}
        return JSONResponse({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
