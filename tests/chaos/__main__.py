"""The chaos tests: `python -m tests.chaos [PYTEST OPTIONS]`, in namespaces of their own where the machine allows it.

Without options it is the long form, on SQLite and on PostgreSQL; `--short` is what `make test` runs.
"""

import sys
from pathlib import Path
from typing import NoReturn

from tests.chaos import sandbox

HERE = Path(__file__).parent


def main(arguments: list[str]) -> NoReturn:
    pytest = [sys.executable, "-m", "pytest", str(HERE)]
    if "--short" in arguments:
        pytest += [each for each in arguments if each != "--short"]
    else:
        pytest += ["--long", *arguments]
    sandbox.enter([sys.executable, "-m", "tests.chaos.sandbox", *pytest])


if __name__ == "__main__":
    main(sys.argv[1:])
