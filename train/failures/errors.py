"""Errors that a run raises about itself."""


class LossDivergedError(RuntimeError):
    """The training loss is no longer a finite number."""


class DeviceTooSmallError(RuntimeError):
    """The GPU has too little memory for a step on the longest rows."""


class DiskFullError(RuntimeError):
    """A disk is full. The message is made before anything is cleaned up, and gives the free space at that moment."""


class EngineCrashedError(RuntimeError):
    """The program that computes the answers of an engine ended by itself. The message says how, in one sentence."""
