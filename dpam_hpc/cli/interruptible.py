"""Verbs that build something: a signal ends them in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(hint: str) -> Iterator[None]:
    """End as at Ctrl-C when asked by a signal too: what was begun is removed on the way out."""
    import signal

    from dpam_hpc.errors import InterruptedRun

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRun("the build was interrupted", hint) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
