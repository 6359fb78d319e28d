"""Ids of jobs, datasets and other records."""

import re
import secrets
import string

ALPHABET = string.ascii_lowercase + string.digits
NUM_CHARS = 12
"""36**12 values: among a million ids, two are equal with a probability of one in ten million."""
JOB_ID = re.compile(rf"job-[0-9a-z]{{{NUM_CHARS}}}")
"""What `new_id` makes for a job."""


def new_id(prefix: str) -> str:
    """`job-4k0x9r2m7q1z`: the prefix and 12 random characters of [a-z0-9]."""
    # One draw for all characters: every request gets an id, and a draw costs more than a division.
    number, characters = secrets.randbelow(len(ALPHABET) ** NUM_CHARS), ""
    for _ in range(NUM_CHARS):
        number, digit = divmod(number, len(ALPHABET))
        characters += ALPHABET[digit]
    return f"{prefix}-{characters}"
