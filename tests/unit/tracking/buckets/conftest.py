"""Buckets of each kind: a local folder, servers of S3 and of Google Cloud Storage, and a driver of another kind."""

import uuid
from pathlib import Path

import pytest

from ftlab.settings import Settings
from tests.support.gcs_server import gcs_address, gcs_url
from tests.support.moto_server import moto_address, s3_url
from tracking.buckets import Buckets, Storage

__all__ = ["gcs_address", "gcs_url", "moto_address", "s3_url"]


@pytest.fixture(params=["folder", "s3", "gcs", "memory"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param in ("s3", "gcs"):
        return str(request.getfixturevalue(f"{request.param}_url"))
    return f"memory://{uuid.uuid4().hex}/folder" if request.param == "memory" else ""


@pytest.fixture
def settings(tmp_path: Path, url: str) -> Settings:
    return Settings(home=tmp_path / "home", buckets={"mine": url})


@pytest.fixture
def buckets(settings: Settings) -> Buckets:
    return Buckets.open(settings)


@pytest.fixture
def storage(buckets: Buckets) -> Storage:
    return buckets.storage("mine")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * 1000)
    return file
