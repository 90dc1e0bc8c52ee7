"""A stand-in for DALI's source: a tarball of its form, whose programs answer from recordings."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from tests import replay

HOME = "/opt/DaliLite.v5"
"""Where the recipe puts it."""
# The recipe changes the flags of lines like these; nothing is compiled.
MAKEFILE = """\
all:
\ttrue cc -c  -O ../src/dsspcmbi/DsspCMBI.c
\ttrue cc -o .//dsspcmbi DsspCMBI.o
\ttrue gfortran -O3 ../src/puu.f -o .//puu
\tinstall -m 755 ../programs/* .
"""
READS_NOTHING = """#!/bin/sh
# What gcc 12 makes of DALI's own Makefile: no residue of any file, and exit status 0.
echo '    0  0  0  0  0 TOTAL NUMBER OF RESIDUES' > "$2"
"""


def make_tarball(
    to: Path, *, wrong: bool = False, home: str | Path = HOME, python: str = "/usr/bin/python3"
) -> Path:
    """Write the tarball; ``wrong``: its dsspcmbi reads 0 residues of everything.

    ``home``: where the programs look for ``lib``, and ``python``: by which they run.
    """
    with tempfile.TemporaryDirectory() as work:
        root = Path(work) / "DaliLite.v5"
        library = root / "lib"
        library.mkdir(parents=True)
        (library / "standin.py").write_bytes((replay.HERE / "standin.py").read_bytes())
        (library / "answers").write_bytes(replay.RECORDINGS.read_bytes())
        body = (
            f"import sys\nsys.path.insert(0, '{home}/lib')\n"
            f"import standin\nsys.exit(standin.main('{home}/lib/answers'))\n"
        )
        replay.write_programs(root / "made", ["-IS"], body, python)
        (root / "made" / "bin").rename(root / "programs")
        (root / "made").rmdir()
        if wrong:
            (root / "programs" / "dsspcmbi").write_text(READS_NOTHING)
        (root / "bin").mkdir()
        (root / "bin" / "Makefile").write_text(MAKEFILE)
        (root / "bin" / "dali.pl").write_text('use strict;\nprint "stand-in\\n";\n')
        with tarfile.open(to, "w:gz") as tar:
            tar.add(root, "DaliLite.v5")
    return to
