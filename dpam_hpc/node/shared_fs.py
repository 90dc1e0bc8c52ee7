"""Operations on the shared file system, which fails now and then and works a moment later."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TRANSIENT = frozenset(
    (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EREMOTEIO)
)
DELAYS = (0.1, 0.5, 2.0, 5.0)
"""Seconds to wait before each further try."""


def persistently(operation: Callable[[], T]) -> T:
    """The result of ``operation``, tried again after a failure that tends to pass."""
    for delay in DELAYS:
        try:
            return operation()
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
        time.sleep(delay)
    return operation()
