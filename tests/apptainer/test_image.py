"""What the image must be: the same file every time, proven, and upstream's bytes out of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import tarfile
import time
from pathlib import Path

import pytest

from dpam_hpc.image import download, sif, verifying
from tests import replay, schemas
from tests.apptainer.images import Images
from tests.conftest import HITS, Work, lay_out

pytestmark = [pytest.mark.apptainer, pytest.mark.timeout(1800)]


def sample(built: Images, targets: tuple[str, ...] = replay.PROTEINS) -> Work:
    """The user's working folder, with the data beside it."""
    folder = built.scratch()
    work = lay_out(folder / "work", targets)
    shutil.copytree(replay.DATA, folder / "data")
    (folder / "scratch").mkdir()
    built.user.own(folder)
    return work


def run_inside(work: Work) -> list[str | Path]:
    """The arguments of a run inside: its own DALI, scratch bound."""
    folder = work.root.parent
    return [
        "dpam-hpc", "run", work.root, "--data-dir", folder / "data", "--scratch-dir",
        folder / "scratch", "--min-free-gb", "0.01", "--dali-workers", "2",
    ]  # fmt: skip


def binds(work: Work) -> tuple[str | Path, ...]:
    folder = work.root.parent
    return (
        "--bind", work.root, "--bind", f"{folder / 'data'}:{folder / 'data'}:ro", "--bind",
        folder / "scratch",
    )  # fmt: skip


def test_two_builds_are_the_same_file(built: Images) -> None:
    difference = verifying.first_difference(built.one, built.other)
    assert not difference, difference
    assert download.sha256(built.one) == download.sha256(built.other)


def test_nothing_of_the_building_machine_is_in_it(built: Images) -> None:
    root = built.inside("grep", "-rlF", str(built.folder), "/etc", "/opt", "/usr", "/var")
    assert root.stdout == ""
    told = sif.read_text(built.one, sif.JSON) + sif.read_text(built.one, sif.SBOM)
    assert str(built.folder) not in told


def test_it_verifies(built: Images) -> None:
    done = built.dpam_hpc("image", "verify", built.one, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = schemas.check("image-verify", done.stdout)
    checks = {check["name"]: check for check in told["checks"]}
    assert "known answer to the byte" in checks["known answer"]["text"]
    assert "not the one listed" in checks["dali"]["text"]
    assert {"checksum", "version", "architecture", "start", "bind", "read-only root"} <= set(checks)


def test_a_damaged_one_does_not(built: Images) -> None:
    damaged = built.scratch() / "image.sif"
    shutil.copy(built.one, damaged)
    shutil.copy(f"{built.one}.sha256", f"{damaged}.sha256")
    with damaged.open("r+b") as file:
        file.seek(-1_000_000, os.SEEK_END)
        file.write(b"damaged")
    built.user.own(damaged.parent)
    done = built.dpam_hpc("image", "verify", damaged)
    assert done.returncode == 9
    assert "FAILED checksum" in done.stdout


def test_it_tells_what_is_in_it(built: Images) -> None:
    told = built.dpam_hpc("image", "inspect", built.one).stdout
    assert "DaliLite.v5" in told and "forbidden" in told and "libgfortran5" in told
    document = schemas.check(
        "image-inspect", built.dpam_hpc("image", "inspect", built.one, "--json").stdout
    )
    assert set(document["contents"]["parts"]) == {"dali"}
    spdx = json.loads(built.dpam_hpc("image", "inspect", built.one, "--spdx").stdout)
    names = {package["name"] for package in spdx["packages"]}
    assert {"dali", "libgfortran5", "perl", "dpam-hpc", "tmtools"} <= names
    assert "dpam" not in names
    inspected = built.user.run(["apptainer", "inspect", "--labels", built.one]).stdout
    assert "org.opencontainers.image.version" in inspected
    listed = built.user.run(["apptainer", "sif", "list", built.one]).stdout
    assert "Squashfs" in listed and "SBOM" in listed


def test_a_run_inside_gives_the_reference_bytes(built: Images) -> None:
    work = sample(built)
    done = built.inside(*run_inside(work), options=binds(work))
    assert done.returncode == 0, done.stdout + done.stderr
    work.expect_whole()
    assert not list((work.root.parent / "scratch").iterdir())


def test_its_programs_answer(built: Images) -> None:
    assert "stand-in" in built.inside("perl", "/opt/DaliLite.v5/bin/dali.pl").stdout
    assert "Usage" in built.user.run(["apptainer", "run", "--containall", built.one]).stderr
    assert "apptainer run" in built.user.run(["apptainer", "run-help", built.one]).stdout
    tested = built.user.run(["apptainer", "test", "--containall", built.one])
    assert tested.returncode == 0 and "DALI: gives the known answer" in tested.stdout


def test_no_one_becomes_another_in_it(built: Images) -> None:
    found = built.inside("find", "/usr", "/opt", "/etc", "-perm", "/7000", "!", "-type", "l")
    assert found.stdout == ""
    unreadable = built.inside("find", "/usr", "/opt", "/etc", "!", "-readable")
    assert unreadable.stdout == ""


def test_killed_in_mid_run_it_goes_on(built: Images) -> None:
    work = sample(built)
    command = ["apptainer", "exec", "--containall", "--no-home", *binds(work), built.one]
    log = work.root.parent / "log"
    process = built.user.popen([*command, *run_inside(work)], log)
    until = time.monotonic() + 60
    while not list(work.root.glob(f"*{HITS}")):
        assert time.monotonic() < until and process.poll() is None, log.read_text()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = built.inside(*run_inside(work), options=binds(work))
    assert done.returncode == 0, done.stdout + done.stderr
    work.expect_whole()
    assert not list((work.root.parent / "scratch").iterdir())


def test_a_signal_reaches_the_launcher(built: Images) -> None:
    work = sample(built)
    command = ["apptainer", "exec", "--containall", "--no-home", *binds(work), built.one]
    log = work.root.parent / "log"
    process = built.user.popen([*command, *run_inside(work)], log)
    until = time.monotonic() + 60
    while not list(work.root.glob(f"*{HITS}")):
        assert time.monotonic() < until and process.poll() is None, log.read_text()
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == 75, log.read_text()
    assert not list((work.root.parent / "scratch").iterdir())


def test_docker_gets_the_same_root(built: Images) -> None:
    archive = built.scratch() / "docker.tar"
    done = built.dpam_hpc("image", "docker", built.one, "-o", archive, "--json")
    assert done.returncode == 0, done.stderr
    told = schemas.check("image-docker", done.stdout)
    with tarfile.open(archive) as tar:
        text = tar.extractfile("config.json")
        assert text
        config_bytes = text.read()
        assert told["image_id"] == f"sha256:{hashlib.sha256(config_bytes).hexdigest()}"
        config = json.loads(config_bytes)
        with tarfile.open(fileobj=tar.extractfile("layer.tar")) as layer:
            status = layer.extractfile("var/lib/dpkg/status")
            assert status
            packages = status.read()
            owners = {(member.uid, member.gid) for member in layer}
    assert owners == {(0, 0)}
    assert packages == built.inside("cat", "/var/lib/dpkg/status").stdout.encode()
    inside = built.inside("env").stdout.splitlines()
    assert set(config["config"]["Env"]) <= set(inside)
    assert "DALI_HOME=/opt/DaliLite.v5" in config["config"]["Env"]
    assert config["config"]["Entrypoint"] == ["dpam-hpc"]


def test_a_wrong_dsspcmbi_stops_a_job_before_its_first_protein(built: Images) -> None:
    work = sample(built)
    folder = work.root.parent
    wrong = folder / "dsspcmbi"
    wrong.write_text('#!/bin/sh\necho nothing > "$2"\n')
    wrong.chmod(0o755)
    built.user.own(folder)
    target = "/opt/DaliLite.v5/bin/dsspcmbi"
    done = built.inside(*run_inside(work), options=(*binds(work), "--bind", f"{wrong}:{target}"))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "known pair" in done.stderr
    assert not list(work.root.glob("*iterativ*"))
