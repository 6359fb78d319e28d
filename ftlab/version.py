"""The version of the installed package."""


def installed_version() -> str | None:
    """`None` for a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ftlab")
    except PackageNotFoundError:
        return None
