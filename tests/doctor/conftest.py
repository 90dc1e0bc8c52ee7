"""A site in which nothing is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import replay
from tests.conftest import lay_out
from tests.doctor.site import Site


@pytest.fixture
def site(tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    lay_out(tmp_path / "w", ("O05011",))
    data = tmp_path / "data"
    (data / "ECOD70").mkdir(parents=True)
    for path in sorted((replay.DATA / "ECOD70").iterdir())[:5]:
        shutil.copy(path, data / "ECOD70")
    scratch = tmp_path / "tmp"
    scratch.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    settings = {
        "work_dir": tmp_path / "w", "data_dir": data, "dali_home": stand_in, "min_free_gb": 0.01,
        "dali_workers": 2,
    }  # fmt: skip
    found = Site(tmp_path, settings, environment={"TMPDIR": str(scratch)})
    found.platform["scratch"] = {"candidates": ["$TMPDIR"]}
    return found
