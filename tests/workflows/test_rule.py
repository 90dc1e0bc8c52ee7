"""No workflow gives away an image with DALI or dpam; each bad change below would be noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.workflows.rule import problems

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").iterdir())
FREE = ".ci/build-image out/dpam-hpc-free.sif --without-dali --without-dpam"
WHOLE = ".ci/build-image out/dpam-hpc.sif\n"
KEPT_OF_WHOLE = "            out/dpam-hpc.sif.sha256\n"
KEPT_OF_FREE = "            out/dpam-hpc-free.sif\n"
ASKED = " && inputs.whole"
PUSH = "apptainer push dpam-hpc-free.sif"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_keeps_the_rule(path: Path) -> None:
    assert path.suffix == ".yml"
    assert problems(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_pinned_action_tells_its_version(path: Path) -> None:
    uses = re.findall(r"^\s*-?\s*uses: (actions/.*)$", path.read_text(), re.MULTILINE)
    assert [u for u in uses if not re.fullmatch(r"\S+@\w{40} # v\d+\.\d+\.\d+", u)] == []


def test_an_action_has_one_version_everywhere() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS)
    pins = set(re.findall(r"(actions/[\w-]+)@(\w+)", text))
    assert len(pins) == len({action for action, _ in pins})


def test_the_scripts_that_workflows_call_send_nothing() -> None:
    sends = re.compile(r"\b(push|upload|curl|wget|rsync|scp|gh)\b")
    for path in (ROOT / ".ci").iterdir():
        assert sends.findall(path.read_text()) == [], path


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("image", FREE, FREE.replace(" --without-dali", ""), "uploads out/dpam-hpc-free.sif"),
        ("image", FREE, FREE.replace(" --without-dpam", ""), "uploads out/dpam-hpc-free.sif"),
        ("image", FREE, FREE.replace("--without-dpam", "# --without-dpam"), "uploads"),
        ("image", FREE, FREE.replace("--without-dpam", "; echo --without-dpam"), "uploads"),
        ("image", FREE, FREE.replace("--without-dali", "$FLAGS"), "not plain"),
        ("image", FREE, FREE.replace("--without-dali", "${{ matrix.flag }}"), "uploads"),
        ("image", FREE, f"{FREE} && .ci/build-image out/dpam-hpc-free.sif", "uploads"),
        ("image", FREE, "dpam-hpc image build -o out/dpam-hpc-free.sif", "uploads"),
        ("image", FREE, "apptainer build out/dpam-hpc-free.sif Apptainer.def", "uploads"),
        ("image", FREE, "cp old.sif out/dpam-hpc-free.sif", "uploads out/dpam-hpc-free.sif"),
        ("image", KEPT_OF_FREE, "            out\n", "uploads out"),
        ("image", KEPT_OF_FREE, "            out/*.sif\n", "uploads out/*.sif"),
        ("image", KEPT_OF_WHOLE, "            out/dpam-hpc.sif\n", "uploads out/dpam-hpc.sif"),
        ("image", KEPT_OF_WHOLE, "            out/*.sha256\n", "uploads out/*.sha256"),
        ("image", KEPT_OF_WHOLE, "            out/\n", "uploads out/"),
        ("image", WHOLE, f"{WHOLE}      - run: mv out/dpam-hpc.sif out/x.sha256\n", "runs mv"),
        (
            "image",
            WHOLE,
            ".ci/build-image x.sif; echo $(gh release upload v1 x.sif)\n",
            "not plain",
        ),
        (
            "image",
            WHOLE,
            f"{WHOLE}      - run: apptainer push out/dpam-hpc.sif oras://a/b\n",
            "runs",
        ),
        ("image", ASKED, "", "not only for a release or when asked to"),
        ("image", ASKED, f"{ASKED} || true", "not only for a release or when asked to"),
        ("image", "    if: startsWith", "    # startsWith", "not only for a release"),
        ("image", "'workflow_dispatch' &&", "'push' &&", "when asked to"),
        ("image", "    timeout-minutes: 10\n", "", "no timeout-minutes"),
        ("image", "    permissions: {}\n", "", "no permissions"),
        ("image", "\npermissions: {}\n", "\npermissions: write-all\n", "permissions"),
        ("image", "persist-credentials: false", "fetch-depth: 1", "credentials"),
        ("release", PUSH, "apptainer push dpam-hpc.sif", "pushes another image"),
        ("release", PUSH, f"{PUSH} oras://a/b; oras push a/b x.sif #", "may give something away"),
        ("release", "name: free-1", "name: whole", "more than the free image"),
        ("release", "name: free-1", "name: free-1\n          run-id: 1", "another run"),
        ("release", "dist/dpam_hpc-*.whl", "dist/*", "releases dist/*"),
        ("release", "dist/dpam_hpc-*.whl", "free/dpam-hpc-free.sif", "releases free/"),
        ("release", "gh release create", "gh release upload", "may give something away"),
        ("release", "./.github/workflows/image.yml", "a/b/.github/workflows/c.yml@v1", "uses a/b"),
        ("test", "- run: .ci/run", "- uses: actions/cache@" + 40 * "a", "nobody has looked"),
        ("test", "- run: .ci/run", "- uses: actions/checkout@v7", "not pinned"),
        (
            "test",
            "- run: .ci/run",
            "- run: curl -T a.sif https://example.org",
            "may give something",
        ),
        ("test", "pull_request:", "pull_request_target:", "on: pull_request_target"),
    ],
)
def test_a_bad_change_is_noticed(name: str, old: str, new: str, problem: str) -> None:
    text = (ROOT / f".github/workflows/{name}.yml").read_text()
    assert old in text
    found = problems(yaml.safe_load(text.replace(old, new)))
    assert any(problem in f for f in found), found
