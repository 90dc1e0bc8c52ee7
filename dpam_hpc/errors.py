"""What went wrong, what to do about it, and the exit code: one class, one handler in ``cli``."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of ``dpam-hpc`` (documented in docs/failures.md)."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    FAILURES = 3
    ALIGNER = 4
    LOCKED = 5
    STORAGE = 6
    BUNDLE = 7
    SCHEDULER = 8
    IMAGE = 9
    PROBLEM = 10
    INTERRUPTED = 75
    INTERRUPTED_TWICE = 130


class DpamHpcError(Exception):
    """An error that a user can act on: ``what`` happened where, and a ``hint`` what to do."""

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class ConfigError(DpamHpcError):
    """Settings or inputs of the run as a whole that cannot be used."""


class AlignerError(DpamHpcError):
    """The aligner is missing, built wrong or cannot run here."""

    exit_code = ExitCode.ALIGNER


class LockedError(DpamHpcError):
    """Another run is at work in this working folder."""

    exit_code = ExitCode.LOCKED


class StorageError(DpamHpcError):
    """A folder cannot be written, or has no room."""

    exit_code = ExitCode.STORAGE


class InterruptedRun(DpamHpcError):
    """A signal ended the work before there was a result."""

    exit_code = ExitCode.INTERRUPTED


class BundleError(DpamHpcError):
    """A template bundle that is damaged or was made from something else."""

    exit_code = ExitCode.BUNDLE


class SchedulerError(DpamHpcError):
    """The scheduler is missing, does not answer, or refuses."""

    exit_code = ExitCode.SCHEDULER


class ImageError(DpamHpcError):
    """An image that cannot be built, cannot be read, or must not be used."""

    exit_code = ExitCode.IMAGE
