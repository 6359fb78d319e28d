"""Provokes failures in real runs of the tiny model, and writes what the run reports of each to `fixtures/<name>.json`.

`python -m tests.unit.train.failures.provoke` writes all the files again. A machine without a GPU cannot raise CUDA's
errors; they are constructed in the words of the libraries' sources, which each of them names, and raised inside a real
run, so that the frames of the traceback are real.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
import transformers
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaModel

from tests.support.tiny_models import make_tiny_model
from tests.unit.train.failures.reports import FIXTURES
from tests.unit.train.runs import Job, Link, write_rows
from train.failures.classify import classify
from train.plan import Failure

POISONED_LINE = 11
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.61 GiB. GPU 0 has a total capacity of 23.69 GiB of which 1.05 GiB is "
    "free. Including non-PyTorch memory, this process has 22.62 GiB memory in use. Of the allocated memory 20.87 GiB "
    "is allocated by PyTorch, and 1.31 GiB is reserved by PyTorch but unallocated. If reserved but unallocated memory "
    "is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for "
    "Memory Management  (https://docs.pytorch.org/docs/stable/notes/cuda.html#optimizing-memory-usage-with-"
    "pytorch-alloc-conf)"
)
"""The message of c10/cuda/CUDACachingAllocator.cpp in PyTorch 2.13."""
CUDA_ERROR = (
    "CUDA error: {}\nSearch for `cudaErrorUnknown' in https://docs.nvidia.com/cuda/cuda-runtime-api/"
    "group__CUDART__TYPES.html for more information.\nCUDA kernel errors might be asynchronously reported at some "
    "other API call, so the stacktrace below might be incorrect.\nFor debugging consider passing "
    "CUDA_LAUNCH_BLOCKING=1\nDevice-side assertion tracking was not enabled by user."
)
"""The message of c10/cuda/CUDAException.cpp."""

Provoke = Callable[[Job, Link], object]


def train(**options: Any) -> Provoke:
    return lambda job, link: job.train(link, **options)


def raised_in(kind: str, error: Callable[[], BaseException], *, after: int = 2, **options: Any) -> Provoke:
    """A run in whose forward pass an error is raised: in training or in an evaluation, after some steps."""

    def provoke(job: Job, link: Link) -> None:
        forward = LlamaMLP.forward

        def failing(self: LlamaMLP, states: torch.Tensor) -> torch.Tensor:
            is_due = self.training == (kind == "training") and max([0, *link.series("loss")]) >= after
            if is_due:
                raise error()
            return forward(self, states)

        with patch.object(LlamaMLP, "forward", failing):
            job.train(link, training={"eval_steps": 2, "save_steps": 2}, **options)

    return provoke


def poisoned(job: Job, link: Link) -> None:
    """One row makes the loss NaN: that with the answer of `POISONED_LINE`."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.models / "org--tiny")
    answer = f"Answer {POISONED_LINE - 1}."
    forward = LlamaModel.forward

    def failing(self: Any, input_ids: Any = None, **inputs: Any) -> Any:
        output = forward(self, input_ids, **inputs)
        is_poisoned = any(answer in text for text in tokenizer.batch_decode(input_ids))
        output.last_hidden_state = output.last_hidden_state * (math.nan if is_poisoned else 1.0)
        return output

    with patch.object(LlamaModel, "forward", failing):
        job.train(link, training={"logging_steps": 1, "max_steps": 8})


def diverged(job: Job, link: Link) -> None:
    """The update of step 45 makes the weights infinite, before any loss is.

    Without this, the processor's rounding would decide whether the loss or the weights are the first.
    """
    update, updates = torch.optim.SGD.step, count(1)

    def overflowing(self: torch.optim.SGD, *inputs: Any) -> Any:
        loss = update(self, *inputs)
        if next(updates) == 45:
            self.param_groups[0]["params"][0].data.fill_(math.inf)
        return loss

    training = {"learning_rate": 1.0, "optim": "sgd", "max_grad_norm": 0, "max_steps": 400, "save_steps": 45}
    with patch.object(torch.optim.SGD, "step", overflowing):
        job.train(link, training=training, tuning="full")


def unsaved(job: Job, link: Link) -> None:
    """The optimizer's state goes to a device that is always full."""
    save = torch.save
    with patch.object(torch, "save", lambda value, file, *args, **options: save(value, "/dev/full", *args, **options)):
        job.train(link)


def model_file(name: str, content: str) -> Provoke:
    def provoke(job: Job, link: Link) -> None:
        (job.models / "org--tiny" / name).write_text(content, "utf-8")
        job.train(link)

    return provoke


def missing_model(job: Job, link: Link) -> None:
    job.model = "org/no-such-model"
    job.train(link)


def gated_model(job: Job, link: Link) -> None:
    """The error that the hub's client makes of the answer of the hub."""
    import httpx2
    from huggingface_hub.utils import hf_raise_for_status

    request = httpx2.Request("GET", "https://hub/api/models/org/gated")
    hf_raise_for_status(httpx2.Response(403, headers={"X-Error-Code": "GatedRepo"}, request=request))


def small_embedding(job: Job, link: Link) -> None:
    torch.nn.functional.embedding(torch.tensor([5]), torch.zeros(3, 2))


def lost_peer(job: Job, link: Link) -> None:
    """An all-reduce over gloo whose other rank has left."""
    store, errors = dist.HashStore(), list[BaseException]()

    def join(rank: int) -> None:
        group = dist.ProcessGroupGloo(store, rank, 2, timedelta(seconds=0.3))
        if rank == 0:
            try:
                group.allreduce([torch.ones(1)]).wait()
            except RuntimeError as error:
                errors.append(error)

    threads = [Thread(target=join, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raise errors[0]


PROVOKED: dict[str, Provoke] = {
    "gpu_memory_training": raised_in("training", lambda: torch.OutOfMemoryError(OUT_OF_MEMORY)),
    "gpu_memory_evaluation": raised_in("evaluation", lambda: torch.OutOfMemoryError(OUT_OF_MEMORY)),
    "host_memory_training": raised_in("training", lambda: refused(lambda: torch.empty(2**50))),
    "host_memory_evaluation": raised_in("evaluation", lambda: refused(lambda: torch.empty(2**50))),
    "cuda_error": raised_in(
        "training", lambda: torch.AcceleratorError(CUDA_ERROR.format("an illegal memory access was encountered"))
    ),
    "gpu_lost": raised_in("training", lambda: torch.AcceleratorError(CUDA_ERROR.format("unknown error"))),
    "gpu_not_supported": raised_in("training", lambda: refused(lambda: torch.ones(1).cuda())),
    "collective_lost": lost_peer,
    "diverged": diverged,
    "poisoned_row": poisoned,
    "disk_full": unsaved,
    "bad_data": model_file("chat_template.jinja", "{{ raise_exception('Roles must alternate.') }}"),
    "bad_config": train(training={"dtype": "float16"}),
    "chat_template": model_file("chat_template.jinja", "{% for m in %}"),
    "tokenizer": model_file("tokenizer.json", '{"a": '),
    "token_without_embedding": small_embedding,
    "model_damaged": model_file("model.safetensors", "0" * 999),
    "model_not_found": missing_model,
    "model_gated": gated_model,
    "internal_error": raised_in("training", lambda: refused(lambda: {}["x"])),
}
"""By name of the fixture."""


def refused(action: Callable[[], object]) -> BaseException:
    """The error that an action raises."""
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("The action succeeded.")


def provoke(name: str, home: Path) -> Failure:
    """What a run in the folder `home` reports of one failure. `home` must be empty."""
    make_tiny_model(home / "models" / "org--tiny")
    rows = write_rows(home / "rows.arrow", 16), write_rows(home / "eval.arrow", 4, offset=20)
    job = Job(home / "job", home / "models", *rows)
    with patch("huggingface_hub.constants.HF_HUB_OFFLINE", True):
        return classify(refused(lambda: PROVOKED[name](job, Link())), job.folder)


def hung_run(home: Path) -> str:
    """The stacks of a training process whose collator never returns."""
    code = (
        "import time\nfrom pathlib import Path\nfrom unittest.mock import patch\n"
        "from tests.support.tiny_models import make_tiny_model\nfrom tests.unit.train.runs import Job, write_rows\n"
        "from train.methods.collator import RowCollator\n"
        f"home = Path({str(home)!r})\nmake_tiny_model(home / 'models' / 'org--tiny')\n"
        "job = Job(home / 'job', home / 'models', write_rows(home / 'rows.arrow', 16))\n"
        "def stuck(self, rows):\n    (home / 'stuck').touch()\n    time.sleep(600)\n"
        "RowCollator.__call__ = stuck\njob.train()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    with ended(process):
        while not (home / "stuck").exists():
            assert process.poll() is None, "the run ended"
            time.sleep(0.1)
        program = Path(sys.executable).with_name("py-spy")
        shown = subprocess.run([program, "dump", "--pid", str(process.pid)], capture_output=True, text=True, check=True)
    return f"job-1, attempt 1. No progress.\n\n== Worker 0: process {process.pid} on node n ==\n{shown.stdout}"


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def without_paths(text: str, home: Path) -> str:
    """The text without the folders of this machine."""
    text = re.sub(r"[^\s\"'(]*/site-packages/", "/site-packages/", text.replace(str(home), "/home-folder"))
    text = re.sub(rf"[^\s\"'(]*/lib/python{sys.version_info[0]}\.{sys.version_info[1]}/", "/lib/python/", text)
    text = re.sub(r"[^\s\"'(]*/bin/python", "/bin/python", text.replace(str(Path(__file__).parents[4]), "/repository"))
    return re.sub(r"[\d,]+ bytes free", "4,096 bytes free", text)


def write(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        failure = provoke(name, Path(folder))
        document = {"reason": failure.reason, "message": failure.message, "details": failure.to_details()}
        text = without_paths(json.dumps(document, indent=1, ensure_ascii=False), Path(folder))
    (FIXTURES / f"{name}.json").write_text(text + "\n", "utf-8")


def main() -> None:
    FIXTURES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or PROVOKED:
        if name != "stacks":
            write(name)
    if not sys.argv[1:] or "stacks" in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            text = without_paths(hung_run(Path(folder)), Path(folder))
        (FIXTURES / "stacks.txt").write_text(text, "utf-8")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
