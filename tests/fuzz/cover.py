"""Coverage-guided fuzzing of one parser: arguments are its name and those of libFuzzer."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["dpam_hpc", "tomllib", "tomli"]):
    from tests.fuzz.parsers import PARSERS

atheris.Setup([sys.argv[0], *sys.argv[2:]], PARSERS[sys.argv[1]])
atheris.Fuzz()
