"""Storage of datasets: named buckets, each a local folder or an fsspec URL. A bucket holds each content once."""

from tracking.buckets.buckets import Buckets
from tracking.buckets.contents import Claim, Contents
from tracking.buckets.dataset_files import DatasetFiles
from tracking.buckets.storage import Storage, blob_key, canonical_key

__all__ = [
    "Buckets",
    "Claim",
    "Contents",
    "DatasetFiles",
    "Storage",
    "blob_key",
    "canonical_key",
]
