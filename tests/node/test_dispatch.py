"""The loop of the launcher, where it ends by an error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dpam_hpc.errors import AlignerError
from dpam_hpc.node.dispatch import Dispatcher


def test_what_an_error_costs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU time of unfinished targets is lost, however the launcher ends."""
    pool: Any = SimpleNamespace(busy_seconds=0.0, busy_with=lambda kind: 0)
    room: Any = SimpleNamespace(free_bytes=0)
    shutdown: Any = SimpleNamespace(reason="")
    staging: Any = None
    dispatcher = Dispatcher(
        staging, pool, 1, room, shutdown, prewarm=False, grace=0.0, on_tick=lambda _: None
    )
    monkeypatch.setattr(dispatcher, "_window", SimpleNamespace(cpu_seconds=7.0))

    def fail(_: object) -> None:
        raise AlignerError("the workers die one after the other", "")

    monkeypatch.setattr(dispatcher, "_stage_in", fail)
    with pytest.raises(AlignerError):
        dispatcher.run(["P1"])
    assert dispatcher.progress.wasted == 7.0
