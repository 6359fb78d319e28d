"""What a large upload costs the service: memory, and seconds for receiving, checking and storing it.

python -m tests.bench.upload_memory --gib 2
python -m tests.bench.upload_memory --gib 2 --s3
"""

import argparse
import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ftlab.client import Client
from tests.unit.serve.datasets.watched_server import HEADERS, MIB, ROW, WatchedServer

ROWS_PER_WRITE = 100


def blocks(num_bytes: int) -> Iterator[bytes]:
    block = ROW * ROWS_PER_WRITE
    for _ in range(num_bytes // len(block)):
        yield block


def measure(folder: Path, num_bytes: int, way: str, buckets: dict[str, str]) -> dict[str, Any]:
    """Upload a file of chat rows to a server of its own, in one request or in pieces."""
    server = WatchedServer(folder / way, num_bytes, buckets)
    try:
        started = time.monotonic()
        if way == "one request":
            status, body = server.request("POST", "/api/datasets", blocks(num_bytes), HEADERS)
            assert status == 201, body
            num_rows = json.loads(body)["num_rows"]
        else:
            file = folder / "rows.jsonl"
            with file.open("wb") as out:
                out.writelines(blocks(num_bytes))
            started = time.monotonic()
            with Client(f"http://127.0.0.1:{server.port}") as client:
                num_rows = client.datasets.upload(file).num_rows
        return {
            "way": way,
            "rows": num_rows,
            "seconds": round(time.monotonic() - started, 1),
            "memory_growth_mib": round(server.growth_bytes / MIB, 1),
        }
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0, help="size of the file")
    parser.add_argument("--s3", action="store_true", help="into a bucket on an S3 server of this process")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ftlab-upload-")))
        buckets = _use_s3(stack) if arguments.s3 else {}
        for way in ("one request", "pieces"):
            # A folder each: what is in the bucket already is not sent again.
            own = {name: f"{url}/{way.replace(' ', '-')}" for name, url in buckets.items()}
            print(json.dumps(measure(folder, int(arguments.gib * 1024**3), way, own)), flush=True)


def _use_s3(stack: ExitStack) -> dict[str, str]:
    """The buckets' settings; the server's process finds the rest in its environment."""
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from tests.support.moto_server import CREDENTIALS, running_moto

    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=stack.enter_context(running_moto()))
    bucket = f"lab-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return {"training-files": f"s3://{bucket}/lab"}


if __name__ == "__main__":
    main()
