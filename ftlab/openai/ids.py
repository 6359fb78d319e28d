"""Ids of records as OpenAI's clients see them: with another first part, and the same random characters."""

import re

OPENAI_PREFIXES = {"job": "ftjob-", "ds": "file-", "up": "upload_", "ntf": "evt_"}
"""By the first part of our ids: that of OpenAI's."""

_OURS = re.compile(rf"(?<![\w-])({'|'.join(OPENAI_PREFIXES)})-([0-9a-z]{{12}})(?![\w-])")


def in_openai_ids(text: str) -> str:
    """The text with every id of ours in OpenAI's form."""
    return _OURS.sub(lambda match: f"{OPENAI_PREFIXES[match[1]]}{match[2]}", text)
