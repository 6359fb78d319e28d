"""The meaning of a command's exit code."""

from enum import IntEnum

from ftlab.errors import (
    AuthenticationError,
    FineTuneLabError,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    MalformedRequestError,
    NotFoundError,
    PermissionDeniedError,
    ServiceUnavailableError,
    UnreachableError,
    WaitTimeoutError,
)


class ExitCode(IntEnum):
    OK = 0
    ERROR = 1
    USAGE = 2
    """The command line, a setting or a job config is wrong."""
    NOT_FOUND = 3
    AUTH = 4
    JOB_FAILED = 5
    JOB_CANCELLED = 6
    TIMEOUT = 7
    UNREACHABLE = 8
    INTERRUPTED = 130


_BY_CLASS: dict[type[FineTuneLabError], ExitCode] = {
    InvalidRequestError: ExitCode.USAGE,
    MalformedRequestError: ExitCode.USAGE,
    NotFoundError: ExitCode.NOT_FOUND,
    AuthenticationError: ExitCode.AUTH,
    PermissionDeniedError: ExitCode.AUTH,
    JobFailedError: ExitCode.JOB_FAILED,
    JobCancelledError: ExitCode.JOB_CANCELLED,
    WaitTimeoutError: ExitCode.TIMEOUT,
    UnreachableError: ExitCode.UNREACHABLE,
    ServiceUnavailableError: ExitCode.UNREACHABLE,
}


def exit_code_of(error: FineTuneLabError) -> ExitCode:
    return _BY_CLASS.get(type(error), ExitCode.ERROR)
