"""A whole image, with the real DALI and dpam: DPAM_HPC_WHOLE_IMAGE names it.

Neither may be passed on, so nothing but the user can build it; see docs/image.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import replay
from tests.conftest import HITS, as_upstream
from tests.ordinary_user import User, environment

IMAGE = os.environ.get("DPAM_HPC_WHOLE_IMAGE", "")
GOLDEN = os.environ.get("DPAM_HPC_GOLDEN", "")
PROTEIN = "A0A0K2WPR7"
# Written by the image's own TensorFlow: 13 features, 64 hidden, 2 classes, all weights made up.
MODEL = """
import sys
import tensorflow as tf
tf.compat.v1.disable_eager_execution()
inputs = tf.compat.v1.placeholder(tf.float32, (100, 13))
hidden = tf.compat.v1.layers.dense(inputs, 64, activation=tf.nn.relu, name="dense")
tf.compat.v1.layers.dense(hidden, 2, name="dense_1")
with tf.compat.v1.Session() as session:
    session.run(tf.compat.v1.global_variables_initializer())
    tf.compat.v1.train.Saver().save(session, sys.argv[1])
"""

pytestmark = [
    pytest.mark.apptainer,
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not IMAGE, reason="set DPAM_HPC_WHOLE_IMAGE: dpam-hpc image build, with DALI and dpam"
    ),
]


class Inside:
    """A folder of an ordinary user's, bound into the image; nothing else of it can be written."""

    def __init__(self, folder: Path) -> None:
        for above in (folder, *folder.parents[:3]):
            above.chmod(above.stat().st_mode | 0o055)
        self.work, self.data = folder / "work", folder / "data"
        (folder / "home").mkdir()
        self.work.mkdir()
        self.data.mkdir()
        name = os.environ.get("DPAM_HPC_IMAGE_USER", "")
        home = folder / "home"
        self.user = User.named(name, home) if name else User(None, environment(home))
        self.folder = folder

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command, with the working folder as the current one; it must succeed."""
        self.user.own(self.folder)
        done = self.user.run(
            ["apptainer", "exec", "--containall", "--no-home", "--bind", self.folder,
             "--pwd", self.work, IMAGE, *command],
            timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    return Inside(tmp_path)


@pytest.mark.skipif(not GOLDEN, reason="set DPAM_HPC_GOLDEN (docs/testing.md)")
def test_the_golden_hits_to_the_byte(inside: Inside) -> None:
    golden = Path(GOLDEN)
    for file in (*golden.glob("*.pdb"), *golden.glob("*_hits4Dali")):
        shutil.copy(file, inside.work)
    shutil.copytree(golden / "ECOD70", inside.data / "ECOD70")
    (inside.folder / "scratch").mkdir()
    inside.run(
        "dpam-hpc", "run", inside.work, "--data-dir", inside.data, "--scratch-dir",
        inside.folder / "scratch",
    )  # fmt: skip
    expected = list((golden / "hits").glob(f"*{HITS}"))
    assert expected
    for file in expected:
        found = as_upstream((inside.work / file.name).read_text())
        assert found == as_upstream(file.read_text()), file.name


def test_dali_pl_compares_a_real_pair(inside: Inside) -> None:
    shutil.copy(replay.DATA / f"{PROTEIN}.pdb", inside.work / "query.pdb")
    shutil.copy(replay.DATA / "ECOD70" / "e6zu5SU01.pdb", inside.work / "template.pdb")
    inside.run(
        "dali.pl", "--pdbfile1", "query.pdb", "--pdbfile2", "template.pdb", "--dat1", "./",
        "--dat2", "./", "--outfmt", "summary,equivalences,transrot",
    )  # fmt: skip
    report = (inside.work / "mol1A.txt").read_text()
    (hit,) = (reference_header(template) for template in ("e6zu5SU01",))
    summary = next(line.split() for line in report.splitlines() if line.startswith("   1:"))
    assert summary[2] == hit[1], "z"
    assert summary[4] == hit[2], "residues aligned"
    assert "<=>" in report


def reference_header(template: str) -> list[str]:
    """A template's first hit in upstream's file: id, z, aligned, lengths."""
    text = (replay.DATA / f"{PROTEIN}{HITS}").read_text()
    return next(
        line.split("\t") for line in text.splitlines() if line.startswith(f">{template}_1\t")
    )


def lay_reference_data(data: Path, templates: list[str]) -> None:
    """What dpam reads at each start, made up for ``templates``."""
    lines = {
        "ECOD_length": "{0} {0} 100",
        "ECOD_norms": "{0} 20.0",
        "ECOD_pdbmap": "{0} 1abc A:1-100",
        "ecod.latest.domains": "{0}\t{0}\t1abc\t1.1.1.1",
    }
    for name, line in lines.items():
        (data / name).write_text("".join(line.format(t) + "\n" for t in templates))


def test_dpam_goes_on_with_step_8(inside: Inside) -> None:
    hits = replay.DATA / f"{PROTEIN}{HITS}"
    shutil.copy(hits, inside.work)
    shutil.copy(replay.DATA / f"{PROTEIN}.pdb", inside.work)
    headers = [line[1:].split("\t")[0] for line in hits.read_text().splitlines() if line[0] == ">"]
    lay_reference_data(inside.data, sorted({name.rpartition("_")[0] for name in headers}))
    step: list[str | Path] = [
        "--step",
        "ANALYZE_DALI",
        "--working-dir",
        inside.work,
        "--data-dir",
        inside.data,
    ]
    inside.run("dpam", "run-step", PROTEIN, *step, "--flat")
    rows = (inside.work / f"{PROTEIN}_good_hits").read_text().splitlines()
    assert len(rows) == 1 + len(headers)


def test_dpams_network_answers(inside: Inside) -> None:
    lay_reference_data(inside.data, ["000000001"])
    inside.run("python3", "-c", MODEL, inside.data / "domass_epo29")
    features = [
        ["D1", "1-100", "1.1.1", "000000001", *(str(n / 10) for n in range(13)), *["na"] * 6]
    ] * 3
    text = "\n".join("\t".join(row) for row in [["head"] * 23, *features]) + "\n"
    (inside.work / "P.step15_features").write_text(text)
    step: list[str | Path] = [
        "--step",
        "RUN_DOMASS",
        "--working-dir",
        inside.work,
        "--data-dir",
        inside.data,
    ]
    inside.run("dpam", "run-step", "P", *step, "--flat")
    rows = (inside.work / "P.step16_predictions").read_text().splitlines()
    header, *predictions = (row.split("\t") for row in rows)
    assert len(predictions) == 3
    assert all(0 < float(row[header.index("DPAM_prob")]) < 1 for row in predictions)
