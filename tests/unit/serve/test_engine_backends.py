"""Which engine a model gets: the adapters that vLLM cannot compute have one beside that of vLLM."""

from pathlib import Path

import pytest

from ftlab.settings import Settings
from ftlab.vllm_environment import VllmEnvironment, record_vllm
from serve.engines.targets import Target

PLAIN = Target("org/name", "local-1")
DORA = Target("org/name", "local-1", needs_own_engine=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def install(settings: Settings) -> None:
    folder = settings.inference_folder / "vllm-1"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "vllm").touch()
    record_vllm(settings.inference_folder, VllmEnvironment(folder, "0.33.0", 1, "", ()))


def test_without_vllm_all_adapters_share_an_engine(settings: Settings) -> None:
    assert DORA.backend(settings) == PLAIN.backend(settings) == "auto"
    assert DORA.key(settings) == PLAIN.key(settings)


def test_with_vllm_some_adapters_have_another_engine(settings: Settings) -> None:
    install(settings)
    assert (PLAIN.backend(settings), DORA.backend(settings)) == ("auto", "own")
    assert DORA.key(settings) != PLAIN.key(settings)


@pytest.mark.parametrize("backend", ["own", "vllm"])
def test_a_setting_decides_for_all(settings: Settings, backend: str) -> None:
    install(settings)
    fixed = Settings(home=settings.home, inference_backend=backend)
    assert DORA.backend(fixed) == PLAIN.backend(fixed) == backend
    assert DORA.key(fixed) == PLAIN.key(fixed)


def test_a_base_model_of_a_job_is_not_shared() -> None:
    assert PLAIN.is_shared
    assert Target("/models/here", "local-1").is_shared
    assert not Target("/data/jobs/job-1/model", "local-1", base_job_id="job-1").is_shared
    assert not Target("model:mdl-1", "local-1").is_shared
