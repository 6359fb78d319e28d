"""Time to the first token of a warm engine: `python -m tests.bench.first_token MODEL_FOLDER [THREADS]`, without Ray.

Prints the median and the longest of ten streamed answers over HTTP, with the load of the machine, as one JSON object.
On busy cores, more threads than free cores wait for one another; a run of the service holds cores of its own.
"""

import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path

import torch
from openai import OpenAI

from ftlab.schemas import JobConfig
from train.inference.engine import Engine
from train.inference.http_server import EngineServer
from train.inference.language_model import LanguageModel
from train.model.base_model import BaseModel, fingerprint
from train.model.load import load_engine_model

NUM_ANSWERS = 10
QUESTION = "Why is my job still waiting in the queue, and what can I do so that it starts earlier?"


def main(folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    base = BaseModel(folder.name.replace("--", "/", 1), folder, fingerprint(folder))
    model = load_engine_model(base, JobConfig(model=base.name, dataset="none"), use_cuda=False)
    engine = Engine(LanguageModel(model), base, None)
    server = EngineServer(engine, "127.0.0.1", "token")
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    server.start()
    with OpenAI(base_url=f"{server.address}/v1", api_key="token") as client:
        times = [_first_token_s(client) for _ in range(1 + NUM_ANSWERS)][1:]
    engine.close("The measurement is over")
    thread.join()
    server.stop()
    print(
        json.dumps(
            {
                "model": base.name,
                "median_s": round(statistics.median(times), 3),
                "longest_s": round(max(times), 3),
                "load": round(os.getloadavg()[0], 1),
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
            }
        )
    )


def _first_token_s(client: OpenAI) -> float:
    began = time.monotonic()
    stream = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": QUESTION}], max_tokens=16, temperature=0, stream=True
    )
    with stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                return time.monotonic() - began
    raise AssertionError("the answer has no text")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else torch.get_num_threads())
