"""The ZIP of a model folder made and thrown away: `python -m tests.bench.zip_generator FOLDER`, in a fresh process.

Prints one JSON document: megabytes per second of the generator and of `zlib.crc32` over the same bytes, and the
growth of the process's memory meanwhile.
"""

import json
import os
import sys
import time
import zlib
from pathlib import Path

from serve.downloads.zip_archive import FolderArchive
from serve.http.ranges import CHUNK_BYTES
from tests.bench.memory import MB, watch


def main() -> None:
    archive = FolderArchive.of(Path(sys.argv[1]))
    crc_mb_per_s = crc32_speed(archive)  # also brings the files into the page cache
    with watch([os.getpid()]) as growth:
        started = time.perf_counter()
        num_bytes = sum(len(piece) for piece in archive.pieces(0, archive.num_bytes))
        zip_s = time.perf_counter() - started
    print(
        json.dumps(
            {
                "zip_mb_per_s": num_bytes / zip_s / MB,
                "crc_mb_per_s": crc_mb_per_s,
                "growth_mb": growth.mb,
            }
        )
    )


def crc32_speed(archive: FolderArchive) -> float:
    """Only the sums are timed, not the reads."""
    spent_s, num_bytes = 0.0, 0
    for name in archive.sizes:
        with (archive.folder / name).open("rb", buffering=0) as file:
            checksum = 0
            while chunk := file.read(CHUNK_BYTES):
                started = time.perf_counter()
                checksum = zlib.crc32(chunk, checksum)
                spent_s += time.perf_counter() - started
                num_bytes += len(chunk)
    return num_bytes / spent_s / MB


if __name__ == "__main__":
    main()
