"""A limit on what may hang where no process can be killed: a call into a file system."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from dpam_hpc.errors import StorageError

T = TypeVar("T")
AFTER_INTERRUPT = 5.0
"""Seconds that work gets to put away what it has made, when the user is in a hurry."""


class TookTooLong(StorageError):
    """There was no answer in time; the work may still hang in a thread that nobody waits for."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer in {seconds:.0f} s", "does a file system hang? ls tells")


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of ``work``, or its exception; TookTooLong after ``seconds``."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    except BaseException:
        thread.join(AFTER_INTERRUPT)
        raise
    if errors:
        raise errors[0]
    if not results:
        raise TookTooLong(seconds)
    return results[0]
