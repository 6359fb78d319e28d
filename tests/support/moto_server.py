"""An S3 server for tests: moto's, in a thread of this process.

from tests.support.moto_server import s3_url  # in a conftest.py; a fixture
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

SECRET = "canary-5up3rs3cr3t"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "canary-access-key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}


@contextmanager
def running_moto() -> Iterator[str]:
    """The address of a server without any bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(address: str, environment: pytest.MonkeyPatch) -> str:
    """The URL of a folder in a new bucket; the environment says how to reach it."""
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": address}).items():
        environment.setenv(name, value)
    # Files of the user who runs the tests say nothing here.
    environment.setenv("AWS_CONFIG_FILE", os.devnull)
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    # Those that exist already go on asking the server they were made for.
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"lab-{uuid.uuid4().hex[:8]}"
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/folder"


@pytest.fixture(scope="session")
def moto_address() -> Iterator[str]:
    with running_moto() as address:
        yield address


@pytest.fixture
def s3_url(moto_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    return make_bucket(moto_address, monkeypatch)
