"""vLLM as a child process of an engine: its command, its environment, its log, its start and its end."""

import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from ftlab.vllm_environment import VllmEnvironment
from train.failures.errors import EngineCrashedError
from train.inference import keeper
from train.inference.backend import MAX_LORA_RANK
from train.inference.language_model import MAX_ADAPTERS
from train.plan import EnginePlan

MAX_ADAPTERS_IN_BATCH = 4
MEMORY_SHARE = 0.92
"""Share of a GPU's memory that vLLM takes by default (vLLM 0.33, `vllm/config/cache.py`)."""
INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")
INHERITED_PREFIXES = ("CUDA_", "LD_LIBRARY_", "NVIDIA_", "NCCL_")
"""Variables that the child gets. Those of the service and of Ray are not for it, and some are secrets."""
LAST_LINES = 20
URL = "http://vllm"
"""Of requests over the socket; the host is not looked up."""
POLL_S = 0.25
HEALTH_TIMEOUT_S = 5.0

logger = logging.getLogger("ftlab.run")


class VllmProcess:
    """One vLLM server for a base model.

    It listens on a Unix socket in a folder that only the user of the service may open: vLLM asks for its key below
    `/v1` only, and a port of the machine could be reached, or taken first, by other users.
    """

    def __init__(self, environment: VllmEnvironment, plan: EnginePlan, model_folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ftlab-vllm-"))
        self.socket = self.folder / "socket"
        api_key = secrets.token_urlsafe(32)
        self._headers = {"authorization": f"Bearer {api_key}"}
        self.model = f"base-{secrets.token_hex(4)}"
        """Name of the base model in requests."""
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.num_lines = 0
        """Lines of its log so far: they show that a long start makes progress."""
        command = vllm_command(environment, plan, model_folder, self.socket, self.model)
        # The keeper ends vLLM and all its processes when this process closes the pipe or dies.
        self._keeper = subprocess.Popen(
            [sys.executable, "-S", str(Path(keeper.__file__)), *command],
            env=child_environment(os.environ, plan, api_key),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log, name="ftlab-vllm-log", daemon=True)
        self._reader.start()

    def client(self) -> httpx2.AsyncClient:
        """A client for requests to the server. Answers may take any time; a dead server closes the connection."""
        transport = httpx2.AsyncHTTPTransport(uds=str(self.socket), limits=httpx2.Limits(max_connections=None))
        return httpx2.AsyncClient(transport=transport, base_url=URL, headers=self._headers, timeout=None)

    def is_alive(self) -> bool:
        return self._keeper.poll() is None

    def wait_until_ready(self, on_poll: Callable[[], None]) -> int:
        """Wait until the server answers; return how many tokens a prompt and its answer may have together.

        `on_poll` is called several times a second, and may raise. Raise `EngineCrashedError` when the process ends.
        """
        transport = httpx2.HTTPTransport(uds=str(self.socket))
        with httpx2.Client(transport=transport, base_url=URL, headers=self._headers, timeout=HEALTH_TIMEOUT_S) as http:
            while not self._is_healthy(http):
                on_poll()
                if not self.is_alive():
                    raise self.crash()
                time.sleep(POLL_S)
            card: dict[str, Any] = http.get("/v1/models").raise_for_status().json()["data"][0]
        return int(card["max_model_len"])

    def crash(self) -> EngineCrashedError:
        """The error for a process that ended by itself, with the last lines of its log."""
        self._reader.join(keeper.GRACE_S)
        code = self._keeper.wait()
        lines = [line for line in self._last_lines if line.strip()]
        last = f" Its last line: {lines[-1][:300]}" if lines else ""
        error = EngineCrashedError(f"vLLM ended by itself with exit code {code}.{last}")
        for line in lines:
            error.add_note(line[:300])
        return error

    def stop(self) -> None:
        """End the server and all its processes; they are gone when this returns."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(2 * keeper.GRACE_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()  # the server gets SIGKILL with it
            self._keeper.wait()
        self._reader.join(POLL_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read_log(self) -> None:
        assert self._keeper.stdout is not None
        for line in self._keeper.stdout:
            self.num_lines += 1
            self._last_lines.append(line.rstrip())
            logger.info("%s", line.rstrip())

    @staticmethod
    def _is_healthy(http: httpx2.Client) -> bool:
        try:
            return http.get("/health").status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False


def vllm_command(
    environment: VllmEnvironment, plan: EnginePlan, model_folder: Path, socket: Path, name: str
) -> Sequence[str]:
    """The command line of the server, for vLLM 0.33."""
    options = {
        "served-model-name": name,
        "uds": str(socket),
        "max-model-len": "auto",  # what fits into the memory, at most the context of the model
        "generation-config": "vllm",  # the sampling that the model's files propose is not that of the API
        "max-lora-rank": str(MAX_LORA_RANK),
        "max-loras": str(MAX_ADAPTERS_IN_BATCH),
        "max-cpu-loras": str(MAX_ADAPTERS),
        "gpu-memory-utilization": f"{(plan.gpu_fraction or 1.0) * MEMORY_SHARE:.4g}",
        "uvicorn-log-level": "warning",
    }
    flags = ("enable-lora", "disable-uvicorn-access-log", "disable-fastapi-docs")
    return [
        *(str(environment.program), "serve", str(model_folder)),
        *(part for option, value in options.items() for part in (f"--{option}", value)),
        *(f"--{flag}" for flag in flags),
    ]


def child_environment(inherited: Mapping[str, str], plan: EnginePlan, api_key: str) -> dict[str, str]:
    """The environment of the server: nothing of this service, no access to the network's model hubs, no reports."""
    kept = {
        name: value for name, value in inherited.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }
    return kept | {
        "VLLM_API_KEY": api_key,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_CACHE_ROOT": str(plan.cache_folder / "vllm"),
        "VLLM_CONFIG_ROOT": str(plan.cache_folder / "vllm"),
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOGGING_COLOR": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(plan.threads),
        "PYTHONUNBUFFERED": "1",
    }
