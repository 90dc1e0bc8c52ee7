"""A file system that fails outside a run is an error with an exit code, not a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from dpam_hpc.errors import ExitCode
from tests.conftest import environment, lay_out

ROOT = Path(__file__).parents[2]


def test_a_working_folder_that_cannot_be_looked_at(tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    spec = json.dumps({"folder": str(work.root), "error": "ENOSPC", "times": 10_000})
    for verb in (["status"], ["resume"], ["run", "--data-dir", str(ROOT / "sample")]):
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.hooked", spec, *verb, str(work.root)],
            capture_output=True, text=True, timeout=60, cwd=ROOT,
            env=environment(PYTHONPATH=str(ROOT)),
        )  # fmt: skip
        assert "Traceback" not in done.stderr, verb
        assert done.returncode in (ExitCode.STORAGE, ExitCode.USAGE), verb
        assert done.stderr.strip(), verb
