"""The Python environment of vLLM: where `ftlab inference install` makes it, and what it recorded about it.

vLLM pins its own PyTorch and transformers, so it never shares the environment of the service.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ftlab.files import replacing

REQUIREMENT = "vllm>=0.33,<0.34"
"""The releases whose options and endpoints the service knows."""
RECORD = "vllm.json"


@dataclass(frozen=True)
class VllmEnvironment:
    """An environment that is ready."""

    folder: Path
    version: str
    """Version of vLLM."""
    size_bytes: int
    installed_at: str
    """ISO 8601, in UTC."""
    architectures: tuple[str, ...]
    """Architectures of the models that this release serves, as config.json names them."""

    @property
    def program(self) -> Path:
        """The command `vllm`."""
        return self.folder / "bin" / "vllm"


def find_vllm(folder: Path) -> VllmEnvironment | None:
    """The environment that is in use, by the folder of the environments; `None` where there is none."""
    try:
        values = json.loads((folder / RECORD).read_text("utf-8"))
        found = VllmEnvironment(
            **values | {"folder": folder / values["folder"], "architectures": tuple(values["architectures"])}
        )
    except FileNotFoundError:
        return None
    return found if found.program.is_file() else None


def record_vllm(folder: Path, environment: VllmEnvironment) -> None:
    """Make an environment the one that is in use."""
    values = asdict(environment) | {"folder": environment.folder.name}
    with replacing(folder / RECORD) as file:
        file.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
