"""The real dpam_c2 around step 7: DPAM_HPC_DPAM names its ``dpam``, installed from a checkout.

Steps 2 and 3 need databases of hundreds of gigabytes: what they leave is made up.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dpam_hpc.pipeline.steps import STEPS
from tests import fake_dpam, mixed_dpam
from tests.conftest import HITS, as_upstream, environment, run

DPAM = os.environ.get("DPAM_HPC_DPAM", "")
GOLDEN = os.environ.get("DPAM_HPC_GOLDEN", "")
DALI_HOME = os.environ.get("DALI_HOME", "")
PROTEIN = "A0A0K2WPR7"

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (DPAM and GOLDEN and DALI_HOME),
        reason="set DPAM_HPC_DPAM, DPAM_HPC_GOLDEN and DALI_HOME (docs/testing.md)",
    ),
]


def test_steps_are_called_and_laid_as_dpam_has_them() -> None:
    python = Path(DPAM).with_name("python")
    program = (
        "import json; from dpam.core.path_resolver import STEP_DIRS\n"
        "from dpam.core.models import PipelineStep\n"
        "print(json.dumps([[s.value, s.name, STEP_DIRS.get(s.value)] for s in PipelineStep]))"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    theirs = [row for row in json.loads(done.stdout) if row[1] != "GENERATE_PDBS"]
    assert theirs == [[step.number, step.name, step.folder] for step in STEPS.values()]


@pytest.mark.parametrize("sharded", [False, True])
def test_a_golden_protein_goes_from_its_structure_to_its_domains(
    tmp_path: Path, sharded: bool
) -> None:
    golden, work = Path(GOLDEN), tmp_path / "work"
    work.mkdir()

    def place(number: int, ending: str) -> Path:
        return (work / STEPS[number].folder if sharded else work) / f"{PROTEIN}{ending}"

    mixed_dpam.lay_inputs(work, golden, PROTEIN, sharded)
    candidates = (golden / f"{PROTEIN}_hits4Dali").read_text().split()
    residues = 341
    data = fake_dpam.make_data(tmp_path / "data", {}, golden / "ECOD70")
    mixed_dpam.lay_reference_data(data, golden)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = run(
        "submit", work, "--steps", "1,4-13", "--platform", "local", "--data-dir", data,
        "--dpam", DPAM, "--dali-home", DALI_HOME, "--scratch-dir", scratch,
        "--min-free-gb", "0.01", "--dali-workers", "2", "--wait",
        env=environment(XDG_CONFIG_HOME=str(tmp_path)), timeout=280,
    )  # fmt: skip
    logs = "".join(p.read_text() for p in work.glob(".dpam-hpc/runs/*/logs/targets/*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert (work / "step01_prepare").exists() == sharded
    assert place(6, "_hits4Dali").read_text().split() == sorted(candidates)
    assert (
        as_upstream(place(7, HITS).read_text())
        == (golden / "hits" / f"{PROTEIN}{HITS}").read_text()
    )
    assert place(8, "_good_hits").read_bytes() == good_hits(tmp_path / "reference", data)
    assert len(place(11, ".sse").read_text().splitlines()) == residues
    assert place(13, ".step13_domains").exists()
    state = json.loads((work / f".{PROTEIN}.dpam_state.json").read_text())
    done_steps = [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert set(state["completed_steps"]) == {STEPS[n].name for n in done_steps}
    assert not state["failed_steps"]


def good_hits(folder: Path, data: Path) -> bytes:
    """What dpam's step 8 makes of upstream's own hits."""
    folder.mkdir()
    shutil.copyfile(Path(GOLDEN) / "hits" / f"{PROTEIN}{HITS}", folder / f"{PROTEIN}{HITS}")
    subprocess.run(
        [DPAM, "run", PROTEIN, "--steps", "ANALYZE_DALI", "--flat", "--working-dir", folder,
         "--data-dir", data],
        check=True, stdout=subprocess.DEVNULL, timeout=100,
    )  # fmt: skip
    return (folder / f"{PROTEIN}_good_hits").read_bytes()
