"""What a launcher notes of itself."""

from __future__ import annotations

import time
from pathlib import Path

from dpam_hpc.node.account import Account
from dpam_hpc.settings import RunSettings


def work(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_its_cpu_time_is_that_since_it_was_opened(tmp_path: Path) -> None:
    """A pipeline that holds it may have worked for long before."""
    work(0.4)
    account = Account(RunSettings(work_dir=tmp_path), {})
    assert account.end("", None, 0.0, 0)["launcher"] < 0.3
    work(0.4)
    assert 0.3 < account.end("", None, 0.0, 0)["launcher"] < 0.8
