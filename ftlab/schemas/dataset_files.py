"""Names of dataset files: the suffixes of formats and of compressions."""

from pathlib import PurePosixPath

FORMAT_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSION_SUFFIXES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
DATASET_SUFFIXES = (*FORMAT_SUFFIXES, *COMPRESSION_SUFFIXES)
"""What the name of a dataset file may end in; ids have no dot."""


def looks_like_file(name: str) -> bool:
    """Whether the name ends as that of a dataset file."""
    return name.lower().endswith(DATASET_SUFFIXES)


def with_suffixes(name: str, format_: str, compression: str | None) -> str:
    """`name` with the suffixes of the file's format and compression, where it has none of them."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in COMPRESSION_SUFFIXES:
        return name
    plain = name if suffix in FORMAT_SUFFIXES else f"{name}.{format_}"
    # The first suffix of a compression is the usual one.
    return plain + next((end for end, found in COMPRESSION_SUFFIXES.items() if found == compression), "")
