"""What an image proves of itself, from inside: at the end of its build, and when it is verified."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dpam_hpc.command import TimedOut, capture
from dpam_hpc.errors import DpamHpcError, ImageError

CONTENTS = Path("/opt/dpam-hpc/contents.json")
SECONDS = 300
HH_PROGRAMS = ("hhblits", "hhmake", "hhsearch")
# As dpam's step 16 builds its network; Keras 3 refuses the first line that matters.
NETWORK = """
import gemmi, numpy
import tensorflow as tf
tf.compat.v1.disable_eager_execution()
inputs = tf.compat.v1.placeholder(tf.float32, (None, 13))
hidden = tf.compat.v1.layers.dense(inputs, 64, activation=tf.nn.relu)
answer = tf.nn.softmax(tf.compat.v1.layers.dense(hidden, 2))
with tf.compat.v1.Session() as session:
    session.run(tf.compat.v1.global_variables_initializer())
    out = session.run(answer, {inputs: numpy.ones((3, 13))})
assert out.shape == (3, 2) and abs(out.sum() - 3) < 1e-5, out
"""


def run(say: Callable[[str], None]) -> None:
    """Prove each part that this image has; ImageError tells all that fail."""
    if not CONTENTS.is_file():
        raise ImageError(
            f"there is no {CONTENTS}: this is no image of dpam-hpc",
            "apptainer exec IMAGE dpam-hpc image self-test, or dpam-hpc image verify IMAGE",
        )
    parts = json.loads(CONTENTS.read_text())["parts"]
    problems = []
    for name, prove in _proofs(parts):
        try:
            say(f"{name}: {prove()}")
        except (DpamHpcError, TimedOut, OSError, ImportError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ImageError("this image must not be used:\n  " + "\n  ".join(problems))


def _proofs(parts: dict[str, object]) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "TM-align", _tmalign
    if "dali" in parts:
        yield "DALI", _dali
        yield "dali.pl", lambda: _starts("perl", "-c", f"{os.environ['DALI_HOME']}/bin/dali.pl")
    if "dpam" in parts:
        yield "dpam", lambda: _starts("dpam", "--help")
        yield "dpam's network", lambda: _starts("python3", "-c", NETWORK)
        for program in HH_PROGRAMS:
            yield program, lambda program=program: _starts(program, "-h")  # type: ignore[misc]
    if "foldseek" in parts:
        yield "foldseek", lambda: _starts("foldseek", "version")


def _tmalign() -> str:
    from dpam_hpc.align import tmalign

    with tempfile.TemporaryDirectory() as folder:
        tmalign.TMAlignAligner.prove({}, Path(folder) / "proof")
    return "gives the known answer"


def _dali() -> str:
    from dpam_hpc.align.dali.aligner import DaliAligner

    options = {"dali_home": os.environ.get("DALI_HOME", "")}
    fingerprint = DaliAligner.fingerprint(options)
    with tempfile.TemporaryDirectory() as folder:
        DaliAligner.prove(options, Path(folder) / "proof")
    return f"gives the known answer to the byte (import {fingerprint[:12]})"


def _starts(*command: str) -> str:
    done = capture(command, timeout=SECONDS)
    if done.returncode:
        raise ImageError(f"ends with {done.returncode}: {(done.stdout + done.stderr)[-400:]}")
    return "starts"
