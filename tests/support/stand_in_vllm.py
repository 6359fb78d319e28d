"""A stand-in for the command `vllm`: a process that speaks the HTTP of `vllm serve` 0.33 and computes nothing.

`install` puts it where `ftlab inference install` puts the real one. What it answers is in `behaviour.json` of its
environment; what it was asked is in `calls.jsonl`. It needs the standard library only.
"""

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(sys.argv[0]).resolve().parent.parent
TOKENS_OF_A_CHUNK = 2
PLACEHOLDER = "token_id:{}"


def install(inference_folder: Path, architecture: str, **behaviour: Any) -> Path:
    """Install it; return the folder of the environment. `behaviour` has:

    `tokens`: the answer of `base`, and of adapters by the names of their folders; `start_s`: how long it loads;
    `crash`: the last line before it ends, at the start or, with `crash_on_request`, at a request; `token_s`: seconds
    between two chunks; `refuses`: what it says to an adapter.
    """
    from ftlab.vllm_environment import VllmEnvironment, record_vllm

    folder = inference_folder / "stand-in"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "vllm"
    program.write_text(f"#!{sys.executable} -S\n{Path(__file__).read_text('utf-8')}", "utf-8")
    program.chmod(0o755)
    (folder / "behaviour.json").write_text(json.dumps(behaviour), "utf-8")
    record_vllm(inference_folder, VllmEnvironment(folder, "0.33.0", 1, "2026-11-30T12:00:00+00:00", (architecture,)))
    return folder


def calls(folder: Path, kind: str) -> list[Any]:
    """What the stand-in in a folder has recorded of one kind: `start`, `adapter`, `aborted`, or a path."""
    file = folder / "calls.jsonl"
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    return [call["value"] for call in map(json.loads, lines) if call["kind"] == kind]


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, options: dict[str, str], behaviour: dict[str, Any]) -> None:
        self.options = options
        self.behaviour = behaviour
        self.adapters: dict[str, str] = {}
        self.ready_at = time.monotonic() + behaviour.get("start_s", 0)
        super().__init__(options["uds"], Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(200 if time.monotonic() >= self.server.ready_at else 503, None)
        elif self.is_allowed() and self.path == "/v1/models":
            card = {"id": self.server.options["served-model-name"], "max_model_len": 256}
            self.reply(200, {"object": "list", "data": [card]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.is_allowed():
            return
        note(self.path, body)
        {
            "/v1/load_lora_adapter": self.load,
            "/v1/unload_lora_adapter": self.unload,
            "/v1/completions": self.complete,
        }[self.path](body)

    def is_allowed(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {os.environ['VLLM_API_KEY']}":
            return True
        self.reply(401, {"error": "Unauthorized"})
        return False

    def load(self, body: dict[str, Any]) -> None:
        if message := self.server.behaviour.get("refuses"):
            self.refuse(500, message)
        elif body["lora_name"] in self.server.adapters:
            self.refuse(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
        else:
            self.server.adapters[body["lora_name"]] = os.path.realpath(body["lora_path"])
            note("adapter", os.path.realpath(body["lora_path"]))
            self.reply(200, None)

    def unload(self, body: dict[str, Any]) -> None:
        del self.server.adapters[body["lora_name"]]
        self.reply(200, None)

    def complete(self, body: dict[str, Any]) -> None:
        if self.server.behaviour.get("crash_on_request"):
            crash(self.server.behaviour["crash"])
        is_base = body["model"] == self.server.options["served-model-name"]
        key = "base" if is_base else Path(self.server.adapters[body["model"]]).name
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        try:
            for chunk in chunks_of(body, self.server.behaviour["tokens"][key]):
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                time.sleep(self.server.behaviour.get("token_s", 0))
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            note("aborted", body["model"])
        self.close_connection = True

    def refuse(self, status: int, message: str) -> None:
        self.reply(status, {"error": {"message": message, "type": "Error", "param": None, "code": status}})

    def reply(self, status: int, document: Any) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def chunks_of(body: dict[str, Any], tokens: list[int]) -> list[dict[str, Any]]:
    """The chunks of a stream: two tokens each, as a busy server sends them."""
    end = next((place + 1 for place, token in enumerate(tokens) if token in body["stop_token_ids"]), len(tokens))
    answer = tokens[: min(end, body["max_tokens"])]
    finish = "stop" if len(answer) == end else "length"
    found = []
    for start in range(0, len(answer), TOKENS_OF_A_CHUNK):
        part = answer[start : start + TOKENS_OF_A_CHUNK]
        is_last = start + TOKENS_OF_A_CHUNK >= len(answer)
        choice = {"index": 0, "text": "", "token_ids": part, "finish_reason": finish if is_last else None}
        if (number := body.get("logprobs")) is not None:
            choice["logprobs"] = logprobs_of(part, number)
        found.append({"id": "cmpl-1", "object": "text_completion", "choices": [choice]})
    return found


def logprobs_of(tokens: list[int], number: int) -> dict[str, Any]:
    """The sampled token is the second most likely one at each position."""
    tops = [
        {PLACEHOLDER.format(token): -0.5} | {PLACEHOLDER.format(other): -0.25 - other for other in range(number)}
        for token in tokens
    ]
    names = [PLACEHOLDER.format(token) for token in tokens]
    return {"tokens": names, "token_logprobs": [-0.5] * len(tokens), "top_logprobs": tops, "text_offset": []}


def note(kind: str, value: Any) -> None:
    with (HERE / "calls.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "value": value}) + "\n")


def crash(last_line: str) -> None:
    print(last_line, flush=True)
    os._exit(3)


def main() -> None:
    command, model, *rest = sys.argv[1:]
    assert command == "serve"
    flags = [word.removeprefix("--") for word in rest if word.startswith("--")]
    options = {word[2:]: value for word, value in pairwise(rest) if word.startswith("--")}
    # The real one computes in a process of its own.
    core = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    note("start", {"model": model, "options": options, "flags": flags, "env": dict(os.environ), "core": core.pid})
    behaviour = json.loads((HERE / "behaviour.json").read_text("utf-8"))
    print("Loading the weights", flush=True)
    if "crash" in behaviour and not behaviour.get("crash_on_request"):
        crash(behaviour["crash"])
    server = Server(options, behaviour)
    threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    main()
