"""A Google Cloud Storage server for tests: an emulator in a thread of this process.

from tests.support.gcs_server import gcs_address, gcs_url  # in a conftest.py; fixtures
"""

import uuid
from collections.abc import Iterator

import gcsfs
import pytest
from gcp_storage_emulator.server import create_server


@pytest.fixture(scope="session")
def gcs_address() -> Iterator[str]:
    """The address of a server without any bucket."""
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    try:
        _, port = server._api._httpd.server_address
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


@pytest.fixture
def gcs_url(gcs_address: str) -> Iterator[str]:
    """The URL of a folder in a new bucket; the environment says how to reach it, with each request anew."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", gcs_address)
        environment.setenv("NO_GCE_CHECK", "true")  # nobody asks a network for credentials
        bucket = f"lab-{uuid.uuid4().hex[:8]}"
        gcsfs.GCSFileSystem().mkdir(bucket)
        yield f"gs://{bucket}/some/folder"
