"""The files by which other programs run an artifact: Ollama, vLLM and Ray Serve."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.schemas.job_file import write_yaml
from train.export.chat_turns import ChatTurns, chat_turns
from train.model.generation import end_of_turn_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODELFILE, COMPOSE, RAY_SERVE = "Modelfile", "compose.yaml", "ray-serve.yaml"
PLACE = "/model"
"""Where the containers of vLLM find the artifact."""


def write_gguf_deployment(
    folder: Path, file: str, name: str, tokenizer: "PreTrainedTokenizerBase"
) -> Mapping[str, str]:
    """Write Ollama's Modelfile; return a sentence on its use by its name."""
    lines = [f"FROM ./{file}"]
    turns = chat_turns(tokenizer)
    if turns is not None and (template := _ollama_template(turns)) is not None:
        lines.append(f'TEMPLATE """{template}"""')
    else:
        lines.append("# The chat template is more than turns of messages; Ollama chooses one by that in the file.")
    turn_end = end_of_turn_id(tokenizer)
    ends = (tokenizer.eos_token, None if turn_end is None else tokenizer.convert_ids_to_tokens(turn_end))
    lines += [f"PARAMETER stop {json.dumps(end)}" for end in dict.fromkeys(ends) if end is not None]
    (folder / MODELFILE).write_text("\n".join(lines) + "\n", "utf-8")
    name = served_name(name)
    return {
        MODELFILE: f"run `ollama create {name} -f Modelfile` in this folder, then `ollama run {name}`.",
        file: f"run `llama-server -m {file} --jinja` for an OpenAI-compatible server by llama.cpp.",
    }


def write_merged_deployment(folder: Path, name: str, max_length: int | None) -> Mapping[str, str]:
    """Write the files for vLLM and Ray Serve; return a sentence on the use of each by its name."""
    name = served_name(name)
    options = ["--model", PLACE, "--served-model-name", name]
    if max_length is not None:
        options += ["--max-model-len", str(max_length)]
    gpu = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    service: dict[str, Any] = {
        "image": "vllm/vllm-openai:latest",
        "command": options,
        "volumes": [f".:{PLACE}:ro"],
        "ports": ["127.0.0.1:8000:8000"],
        "ipc": "host",
        "deploy": {"resources": {"reservations": {"devices": [gpu]}}},
    }
    (folder / COMPOSE).write_text(write_yaml({"services": {"vllm": service}}), "utf-8")
    llm = {
        "model_loading_config": {"model_id": name, "model_source": "PATH OF THIS FOLDER"},
        "deployment_config": {"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}},
    }
    application = {
        "name": "llm",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [llm]},
    }
    (folder / RAY_SERVE).write_text(write_yaml({"applications": [application]}), "utf-8")
    return {
        COMPOSE: "run `docker compose up` in this folder, or without Docker `vllm serve . --served-model-name "
        f"{name}`, for an OpenAI-compatible server by vLLM on port 8000.",
        RAY_SERVE: "install `ray[serve,llm]`, replace `PATH OF THIS FOLDER`, then run `serve run ray-serve.yaml`.",
    }


def served_name(name: str) -> str:
    """A name that shells, URLs and Ollama take as it is."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:60].rstrip("-._") or "model"


def _ollama_template(turns: ChatTurns) -> str | None:
    """The turns as a template of Go; `None` for texts that this cannot hold.

    llama.cpp writes the token that begins every text by itself.
    """
    texts = [text for pair in turns.around.values() for text in pair] + [turns.answer]
    if any(mark in text for text in texts for mark in ("{{", "}}", '"""')):
        return None
    roles = "{{ else ".join(
        f'if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}' for role, (before, after) in turns.around.items()
    )
    return f"{{{{ range .Messages }}}}{{{{ {roles}{{{{ end }}}}{{{{ end }}}}{turns.answer}"
