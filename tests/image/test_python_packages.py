"""Python packages of an image: which, for which machine, and dpam-hpc's own wheel."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dpam_hpc import __version__
from dpam_hpc.errors import ImageError
from dpam_hpc.image import python_packages, recipe
from dpam_hpc.image.python_packages import requirements
from tests.image.made_up import ROOT, sha256

A, B = f"--hash=sha256:{'a' * 64}", f"--hash=sha256:{'b' * 64}"


def line(name: str, condition: str = "") -> str:
    return f"{name}{f' ; {condition}' if condition else ''} \\\n    {A} \\\n    {B}\n    # via x\n"


def names(text: str) -> list[str]:
    return [one.removesuffix(" \\") for one in text.splitlines() if not one.startswith(" ")]


def test_hashes_are_kept_and_comments_are_not() -> None:
    lock = f"# made by a program\n\n{line('one[extra]==1')}# why\n{line('two==2')}"
    expected = "".join(f"{name} \\\n    {A} \\\n    {B}\n" for name in ("one[extra]==1", "two==2"))
    assert requirements(lock, "x86_64", "3.11", ()) == expected


@pytest.mark.parametrize(
    ("condition", "architecture", "python", "expected"),
    [
        ("python_full_version < '3.11'", "x86_64", "3.11", False),
        ("python_full_version < '3.11'", "x86_64", "3.10", True),
        ("python_version >= '3.13'", "x86_64", "3.13", True),
        ("python_version < '3.9'", "x86_64", "3.11", False),  # and not as a text: 3.9 > 3.11
        ("platform_machine == 'aarch64'", "aarch64", "3.11", True),
        ("platform_machine == 'aarch64'", "x86_64", "3.11", False),
        ("sys_platform == 'win32'", "x86_64", "3.11", False),
        ("sys_platform == 'linux' and platform_system == 'Linux'", "x86_64", "3.11", True),
        ("os_name == 'nt' or implementation_name == 'cpython'", "x86_64", "3.11", True),
        ("platform_python_implementation == 'PyPy'", "x86_64", "3.11", False),
        ("extra == 'test'", "x86_64", "3.11", False),
    ],
)
def test_conditions_are_those_of_the_image(
    condition: str, architecture: str, python: str, expected: bool
) -> None:
    lock = line("always==1") + line("maybe==1", condition)
    found = names(requirements(lock, architecture, python, ()))
    assert found == (["always==1", "maybe==1"] if expected else ["always==1"])


def test_conditions_are_not_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr("sys.platform", "darwin")
    lock = line("one==1", "platform_machine == 'x86_64' and sys_platform == 'linux'")
    assert names(requirements(lock, "x86_64", "3.11", ())) == ["one==1"]


def test_what_is_to_be_left_out_is() -> None:
    lock = line("tensorflow==2") + line("tensorflow-cpu==2", "python_version > '3'")
    assert names(requirements(lock, "x86_64", "3.11", ("tensorflow",))) == ["tensorflow-cpu==2"]
    assert names(requirements(lock, "x86_64", "3.11", ("tensorflow-cpu",))) == ["tensorflow==2"]


@pytest.mark.parametrize("architecture", recipe.DEBIAN_NAMES)
def test_the_shipped_locks(architecture: str) -> None:
    python = recipe.read_sources().python
    leave_out = python.leave_out[architecture]
    for lock in (python.base, python.dpam):
        text = requirements((ROOT / lock).read_text(), architecture, python.version, leave_out)
        found = [name.partition("==")[0] for name in names(text)]
        assert len(set(found)) == len(found), "two versions of a package"
        assert {"jinja2", "pydantic", "typer"} <= set(found)
        assert not set(found) & {"tomli", *leave_out}
        entries = list(python_packages._entries(text))
        assert len(entries) == len(found)
        assert all(len(entry) > 1 and "sha256:" in entry[1] for entry in entries)
        kept = {"x86_64": "tensorflow-cpu", "aarch64": "tensorflow"}[architecture]
        assert (kept in found) == (lock == python.dpam)


def test_what_is_missing(tmp_path: Path) -> None:
    def text(*packages: bytes) -> str:
        hashes = [f"--hash=sha256:{sha256(data)}" for data in packages]
        return "one==1 \\\n    " + " \\\n    ".join(hashes) + "\n"

    assert python_packages.missing(text(b"1"), tmp_path / "absent") == ["one==1"]
    (tmp_path / "one-1-py3-none-any.whl").write_bytes(b"1")
    assert python_packages.missing(text(b"other", b"1"), tmp_path) == []
    assert python_packages.missing(text(b"other"), tmp_path) == ["one==1"]
    (tmp_path / "one-1-py3-none-any.whl").rename(tmp_path / "one.tar.gz")
    assert python_packages.missing(text(b"1"), tmp_path) == ["one==1"]


def test_pip_is_asked_for_wheels_of_the_image_s_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nfor word; do echo "$word"; done >"$0.asked"\necho no >&2; exit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(ImageError, match="cannot be had: no") as caught:
        python_packages.download(tmp_path / "r.txt", "aarch64", "3.11", tmp_path / "to")
    assert "pip" in caught.value.hint
    asked = (tmp_path / "python.asked").read_text().split("\n")
    assert {"--require-hashes", "--only-binary=:all:", "--python-version=3.11"} <= set(asked)
    platforms = [word.partition("=")[2] for word in asked if word.startswith("--platform=")]
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(platforms)
    assert "manylinux_2_37_aarch64" not in platforms, "glibc of the image is 2.36"


# -- dpam-hpc's own wheel ------------------------------------------------------------------------


def write_wheel(to: Path) -> Path:
    to.mkdir()
    return python_packages.write_own_wheel(ROOT, to)


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "to")
    assert wheel.name == f"dpam_hpc-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}
    info = f"dpam_hpc-{__version__}.dist-info"
    record = csv.reader(io.StringIO(files[f"{info}/RECORD"].decode()))
    told = {name: (digest, size) for name, digest, size in record}
    assert set(told) == set(files)
    assert told.pop(f"{info}/RECORD") == ("", "")
    for name, (digest, size) in told.items():
        expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode()
        assert (digest, size) == (f"sha256={expected.rstrip('=')}", str(len(files[name]))), name
    for path in (ROOT / "templates").iterdir():
        assert files[f"dpam_hpc/templates/{path.name}"] == path.read_bytes()
    for path in (ROOT / "dpam_hpc").rglob("*.py"):
        assert files[str(path.relative_to(ROOT))] == path.read_bytes()
    assert not [name for name in files if "/recipe/" in name or "__pycache__" in name]
    assert b"Name: dpam-hpc\n" in files[f"{info}/METADATA"]
    assert b"dpam-hpc = dpam_hpc.cli:main" in files[f"{info}/entry_points.txt"]


def test_the_wheel_is_the_same_wherever_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_wheel(tmp_path / "one").read_bytes()
    # An installation has templates and recipe inside, bytecode, and its files' own times and modes.
    package = tmp_path / "site-packages" / "dpam_hpc"
    shutil.copytree(ROOT / "dpam_hpc", package)
    shutil.copytree(ROOT / "templates", package / "templates")
    (package / "recipe" / "containers").mkdir(parents=True)
    shutil.copy(ROOT / "Apptainer.def", package / "recipe")
    shutil.copy(ROOT / "containers" / "sources.toml", package / "recipe" / "containers")
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    for path in package.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            os.utime(path, (7, 7))
    monkeypatch.setattr(python_packages, "__file__", str(package / "image/python_packages.py"))
    before = os.umask(0o077)
    try:
        two = write_wheel(tmp_path / "two").read_bytes()
    finally:
        os.umask(before)
    assert one == two


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip install pip")
def test_the_wheel_installs(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "to")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
               "--no-compile", "--disable-pip-version-check", "--root-user-action=ignore",
               f"--target={site}", str(wheel)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = (
        "import json, dpam_hpc; from importlib import resources;"
        "from importlib.metadata import distribution as d;"
        "print(json.dumps([dpam_hpc.__file__, d('dpam-hpc').version,"
        " sorted(p.name for p in resources.files('dpam_hpc').joinpath('templates').iterdir())]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True,
        cwd=tmp_path,
    )  # fmt: skip
    file, version, templates = json.loads(answer.stdout)
    assert Path(file).parent == site / "dpam_hpc"
    assert version == __version__
    assert templates == sorted(path.name for path in (ROOT / "templates").iterdir())
