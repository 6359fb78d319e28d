"""A tuned adapter of an earlier job, in the record and on the disk."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftlab.schemas import JobConfig
from serve.context import Services
from tracking.store.records import ModelRecord


def add_tuned_adapter(services: Services, base: str, *, revision: str = "local-1", **settings: Any) -> Path:
    """Add the model `mdl-1` of the job `job-1`, with these settings in its `adapter_config.json`. Return its folder."""
    folder = services.settings.home / "jobs" / "job-1" / "model"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base} | settings))
    (folder / "adapter_model.safetensors").write_bytes(bytes(100))
    now = datetime.now(UTC)
    model = ModelRecord("mdl-1", "local", "job-1", "tuned", "adapter", base, revision, 2, folder, None, now)
    with services.store.begin() as tx:
        tx.jobs.add("job-1", owner="local", name="former", config=JobConfig(model=base, dataset="ds-1"), now=now)
        tx.models.add(model)
    return folder
