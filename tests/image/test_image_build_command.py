"""``dpam-hpc image build`` with inputs that cannot be used: what is told, and the exit code."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from dpam_hpc.cli.image import image_build
from dpam_hpc.errors import ExitCode
from dpam_hpc.image import building
from tests import schemas
from tests.conftest import environment, run
from tests.image.conftest import Program

OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}.get(platform.machine(), "x86_64")


@pytest.fixture
def programs(program: Program) -> None:
    """All that a build calls is there, and must not be called."""
    for name in ("apptainer", "mksquashfs", "debootstrap"):
        program(name, 'touch "$0.called"; exit 1')
    program("unshare", "")


def build(
    tmp_path: Path, *arguments: str | Path, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """An attempt that reaches no network and no cache."""
    (tmp_path / "out").mkdir(exist_ok=True)
    env = environment(**({"PATH": path} if path else {}))
    more: list[str | Path] = ["--offline", "--sources-dir", tmp_path / "sources"]
    more += ["--sandbox-dir", tmp_path]
    if "-o" not in arguments:
        more += ["-o", tmp_path / "out" / "image.sif"]
    return run("image", "build", *more, *arguments, env=env)


def expect(done: subprocess.CompletedProcess[str], code: int, *told: str, tmp_path: Path) -> None:
    assert done.returncode == code, done.stderr
    for text in told:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list((tmp_path / "out").iterdir()) == []
    assert not list(tmp_path.glob("programs/*.called"))
    assert not list(tmp_path.glob("dpam-hpc-image-*"))


@pytest.mark.usefixtures("programs")
def test_sources_that_there_are_none_of(tmp_path: Path) -> None:
    done = build(tmp_path, "--source", "dalli=/x", "--source", f"dpam={tmp_path}/absent")
    expect(
        done, ExitCode.USAGE, "--source dalli=/x: not NAME=PATH", f"there is no {tmp_path}/absent",
        "-> dpam-hpc image sources", tmp_path=tmp_path,
    )  # fmt: skip


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("architecture", [OTHER, "riscv64"])
def test_an_architecture_of_another_machine(architecture: str, tmp_path: Path) -> None:
    done = build(tmp_path, "--arch", architecture)
    told = f"an image for {architecture} cannot be built on {platform.machine()}"
    expect(done, ExitCode.USAGE, told, tmp_path=tmp_path)


@pytest.mark.usefixtures("programs")
def test_a_time_that_is_none(tmp_path: Path) -> None:
    done = build(tmp_path, "--epoch", "today")
    expect(done, ExitCode.USAGE, "--epoch", tmp_path=tmp_path)


@pytest.mark.usefixtures("programs")
def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = build(tmp_path, "-o", tmp_path / "absent" / "image.sif")
    told = f"{tmp_path}/absent cannot be written: No such file"
    expect(done, ExitCode.STORAGE, told, tmp_path=tmp_path)


@pytest.mark.usefixtures("programs")
def test_sources_that_are_missing_offline(tmp_path: Path) -> None:
    done = build(tmp_path)
    expect(done, ExitCode.IMAGE, "is missing", "-> on a machine with a network", tmp_path=tmp_path)


def test_a_machine_without_apptainer(tmp_path: Path) -> None:
    done = build(tmp_path, path="/nonexistent")
    expect(done, ExitCode.IMAGE, "there is no apptainer", "-> install apptainer", tmp_path=tmp_path)


def test_what_it_tells_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "image.sif"
    made = building.Built(file, "0" * 64, 5, {"dali": "1" * 64})
    monkeypatch.setattr(building, "build", lambda *_, **__: made)
    image_build(output=file, without_dpam=True, json=True)
    told = schemas.check("image-build", capsys.readouterr().out)
    assert told["not_to_give"] == ["dali"]
