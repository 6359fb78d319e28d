"""Buckets of each kind: a local folder, an S3 server, and a driver of another kind."""

import uuid
from pathlib import Path

import pytest

from ftlab.settings import Settings
from tests.moto_server import moto_address, s3_url
from tracking.buckets import Buckets, Storage

__all__ = ["moto_address", "s3_url"]


@pytest.fixture(params=["folder", "s3", "memory"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3_url"))
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
