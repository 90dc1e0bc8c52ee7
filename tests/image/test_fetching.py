"""Sources: what the user names, what is fetched, what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest

from dpam_hpc.errors import ConfigError, ImageError, StorageError
from dpam_hpc.image import download, fetching, python_packages, recipe, tree
from dpam_hpc.image.choice import Choice, Given, contents
from tests.image.made_up import (
    Kitchen,
    file_source,
    git_source,
    mirror_file,
    repository,
    sha256,
    write_files,
)

DALI, OTHER = b"what is listed", b"something else"


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path / "recipe")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# -- --source ------------------------------------------------------------------------------------


def test_sources_of_the_user_s(tmp_path: Path) -> None:
    file = written(tmp_path / "a=b", b"")
    digest = "A" * 64
    found = Given.parse_all(
        (f"dali={file}#sha256={digest}", f"foldseek={file}", "debian=http://mirror/debian"),
        recipe.read_sources(),
    )
    assert found == {
        "dali": Given(str(file), digest.lower()),
        "foldseek": Given(str(file)),
        "debian": Given("http://mirror/debian"),
    }


def test_all_that_are_none_are_told_at_once(tmp_path: Path) -> None:
    texts = ("dali", "dalli=/x", "dpam=", "=/x", f"dpam={tmp_path}/absent", f"dali={tmp_path}")
    with pytest.raises(ConfigError) as caught:
        Given.parse_all(texts, recipe.read_sources())
    told = caught.value.what.splitlines()
    assert [line.strip().partition(": ")[0] for line in told] == [
        f"--source {text}" for text in texts[:5]
    ]
    assert "NAME of dali, debian, dpam, foldseek" in told[0]
    assert told[4].endswith(f"there is no {tmp_path}/absent")


# -- files ---------------------------------------------------------------------------------------


def test_a_file_is_fetched_once(tmp_path: Path, kitchen: Kitchen) -> None:
    home = written(tmp_path / "home", DALI)
    choice = kitchen.choice({"dali": file_source(DALI, "file:///absent", home.as_uri())})
    said: list[str] = []
    for _ in range(2):
        parts = fetching.fetch(choice, tmp_path / "to", say=said.append)
        assert parts == {"dali": sha256(DALI)}
        home.unlink(missing_ok=True)
    assert said == ["dali: file:///absent"]
    assert (tmp_path / "to/dali.tar.gz").read_bytes() == DALI
    (tmp_path / "to/dali.tar.gz").write_bytes(OTHER)
    with pytest.raises(ImageError, match="cannot be had"):
        fetching.fetch(choice, tmp_path / "to")


def test_a_file_that_is_gone(tmp_path: Path, kitchen: Kitchen) -> None:
    homes = [f"file://{tmp_path}/absent", "ftp://elsewhere/x"]
    with pytest.raises(ImageError, match=r"dali\.tar\.gz cannot be had") as caught:
        fetching.fetch(kitchen.choice({"dali": file_source(DALI, *homes)}), tmp_path / "to")
    assert all(caught.value.what.count(home) == 1 for home in homes)
    assert "--source dali=PATH" in caught.value.hint
    assert left(tmp_path / "to") == []


def test_a_file_that_was_replaced_is_not_kept(tmp_path: Path, kitchen: Kitchen) -> None:
    home = written(tmp_path / "home", OTHER).as_uri()
    with pytest.raises(ImageError) as caught:
        fetching.fetch(kitchen.choice({"dali": file_source(DALI, home)}), tmp_path / "to")
    assert f"{home} has SHA-256 {sha256(OTHER)}, not {sha256(DALI)}" in caught.value.what
    assert left(tmp_path / "to") == []


def test_a_home_may_be_out_of_reach_for_a_moment(
    tmp_path: Path, kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = written(tmp_path / "home", DALI).as_uri()
    read, tries = download._read, []

    def sometimes(url: str, to: BinaryIO) -> None:
        tries.append(url)
        to.write(b"half of it")
        if len(tries) == 1:
            raise TimeoutError("timed out")
        to.seek(0)
        to.truncate()
        read(url, to)

    monkeypatch.setattr(download, "_read", sometimes)
    choice = kitchen.choice({"dali": file_source(DALI, home)})
    assert fetching.fetch(choice, tmp_path / "to") == {"dali": sha256(DALI)}
    assert tries == [home, home]
    assert left(tmp_path / "to") == ["dali.tar.gz"]


@pytest.mark.parametrize("where", ["dali", "debian"])
def test_a_full_disk_is_told_as_one(
    where: str, tmp_path: Path, kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def full(url: str, to: BinaryIO) -> None:
        tries.append(url)
        to.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_read", full)
    homes = ("file:///one", "file:///two")
    parts = {"dali": file_source(DALI, *homes)} if where == "dali" else {}
    files = [mirror_file(tmp_path / "mirror", "pool/a.deb", b"a")] if where == "debian" else []
    choice = kitchen.choice(parts, files, {"debian": Given(str(tmp_path / "mirror"))})
    with pytest.raises(StorageError, match=r"cannot be kept in .*No space left on device"):
        fetching.fetch(choice, tmp_path / "to")
    assert len(tries) == 1, "another home does not help"
    assert [path for path in (tmp_path / "to").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, kitchen: Kitchen) -> None:
    written(tmp_path / "file", b"")
    with pytest.raises(StorageError, match="cannot be kept in"):
        fetching.fetch(kitchen.choice(), tmp_path / "file" / "to")


# -- files of the user's -------------------------------------------------------------------------


def test_a_copy_of_what_is_listed(tmp_path: Path, kitchen: Kitchen) -> None:
    mine = written(tmp_path / "mine", DALI)
    source = file_source(DALI, "file:///absent")
    choice = kitchen.choice({"dali": source}, given={"dali": Given(str(mine))})
    parts = fetching.fetch(choice, tmp_path / "to", offline=True)
    assert parts == {"dali": sha256(DALI)}
    assert as_listed(choice, parts)
    assert left(tmp_path / "to") == ["dali.tar.gz"]


def as_listed(choice: Choice, parts: dict[str, str]) -> bool:
    told = json.loads(json.dumps(contents(choice, parts, 7)))
    (part,) = told["parts"].values()
    assert part["sha256"] == next(iter(parts.values()))
    assert told["epoch"] == 7
    return bool(part["as_listed"])


def test_another_one_is_taken_on_purpose_alone(tmp_path: Path, kitchen: Kitchen) -> None:
    mine = written(tmp_path / "mine", OTHER)
    home = written(tmp_path / "home", DALI).as_uri()
    source = file_source(DALI, home)
    choice = kitchen.choice({"dali": source}, given={"dali": Given(str(mine))})
    with pytest.raises(ImageError, match="is not the a part that is listed") as caught:
        fetching.fetch(choice, tmp_path / "to")
    assert left(tmp_path / "to") == []
    way = caught.value.hint.rpartition("--source ")[2]
    assert way == f"dali={mine}#sha256={sha256(OTHER)}"

    given = Given.parse_all((way,), choice.sources)
    choice = kitchen.choice({"dali": source}, given=given)
    parts = fetching.fetch(choice, tmp_path / "to")
    assert parts == {"dali": sha256(OTHER)}
    assert not as_listed(choice, parts)
    # The one listed is not in its place, and is fetched when it is asked for.
    assert left(tmp_path / "to") == [f"{sha256(OTHER)[:16]}-dali.tar.gz"]
    plain = kitchen.choice({"dali": source})
    assert fetching.fetch(plain, tmp_path / "to") == {"dali": sha256(DALI)}


def test_a_checksum_that_was_promised_is_kept(tmp_path: Path, kitchen: Kitchen) -> None:
    mine = written(tmp_path / "mine", DALI)
    given = {"dali": Given(str(mine), sha256(OTHER))}
    with pytest.raises(ImageError, match=f"SHA-256 {sha256(DALI)}, not {sha256(OTHER)}"):
        fetching.fetch(kitchen.choice({"dali": file_source(DALI)}, given=given), tmp_path / "to")


def test_a_part_without_a_home_is_the_user_s_alone(tmp_path: Path, kitchen: Kitchen) -> None:
    foldseek = recipe.read_sources().foldseek
    mine = written(tmp_path / "mine", OTHER)
    choice = kitchen.choice({"foldseek": foldseek}, given={"foldseek": Given(str(mine))})
    parts = fetching.fetch(choice, tmp_path / "to")
    assert not as_listed(choice, parts)
    folder = kitchen.choice({"foldseek": foldseek}, given={"foldseek": Given(str(tmp_path))})
    with pytest.raises(ImageError, match="not a file"):
        fetching.fetch(folder, tmp_path / "to")


# -- commits -------------------------------------------------------------------------------------


@pytest.fixture
def steps(tmp_path: Path) -> tuple[str, str]:
    """A repository's commit, and the checksum of its files."""
    commit = repository(tmp_path / "repository")
    tree.pack(write_files(tmp_path / "files"), "", tmp_path / "expected.tar")
    return commit, tree.sha256(tmp_path / "expected.tar")


def test_a_commit_is_fetched_once(tmp_path: Path, kitchen: Kitchen, steps: tuple[str, str]) -> None:
    homes = (str(tmp_path / "absent"), str(tmp_path / "repository"))
    choice = kitchen.choice({"dpam": git_source(*steps, *homes)})
    assert fetching.fetch(choice, tmp_path / "to") == {"dpam": steps[1]}
    assert left(tmp_path / "to") == ["dpam.tar"]
    shutil.rmtree(tmp_path / "repository")
    parts = fetching.fetch(choice, tmp_path / "to", offline=True)
    assert as_listed(choice, parts)


def test_a_commit_with_other_files_is_not_kept(
    tmp_path: Path, kitchen: Kitchen, steps: tuple[str, str]
) -> None:
    home = str(tmp_path / "repository")
    choice = kitchen.choice({"dpam": git_source(steps[0], "0" * 64, home)})
    with pytest.raises(ImageError, match="dpam cannot be had") as caught:
        fetching.fetch(choice, tmp_path / "to")
    assert f"SHA-256 {steps[1]}, not {'0' * 64}" in caught.value.what
    assert left(tmp_path / "to") == []


@pytest.mark.parametrize("mine", ["repository", "files", "expected.tar"])
def test_a_commit_of_the_user_s(
    mine: str, tmp_path: Path, kitchen: Kitchen, steps: tuple[str, str]
) -> None:
    given = {"dpam": Given(str(tmp_path / mine))}
    choice = kitchen.choice({"dpam": git_source(*steps, "/absent")}, given=given)
    assert as_listed(choice, fetching.fetch(choice, tmp_path / "to", offline=True))


def test_other_steps_of_the_user_s(
    tmp_path: Path, kitchen: Kitchen, steps: tuple[str, str]
) -> None:
    (tmp_path / "files/README").write_text("changed\n")
    source = git_source(*steps, "/absent")
    choice = kitchen.choice({"dpam": source}, given={"dpam": Given(str(tmp_path / "files"))})
    with pytest.raises(ImageError, match="is not the some steps that is listed") as caught:
        fetching.fetch(choice, tmp_path / "to")
    given = Given.parse_all((caught.value.hint.rpartition("--source ")[2],), choice.sources)
    choice = kitchen.choice({"dpam": source}, given=given)
    assert not as_listed(choice, fetching.fetch(choice, tmp_path / "to"))


def test_a_source_that_is_no_archive_has_its_own_name(
    tmp_path: Path, kitchen: Kitchen, steps: tuple[str, str]
) -> None:
    mine = written(tmp_path / "mine", b"no archive\n" * 100)
    choice = kitchen.choice({"dpam": git_source(*steps)}, given={"dpam": Given(str(mine))})
    with pytest.raises(ImageError, match=f"{mine} is no archive"):
        fetching.fetch(choice, tmp_path / "to")


# -- without a network ---------------------------------------------------------------------------


def test_offline_what_is_missing_is_told(tmp_path: Path, kitchen: Kitchen) -> None:
    home = written(tmp_path / "home", DALI).as_uri()
    files = [mirror_file(tmp_path / "mirror", f"pool/{n}.deb", n.encode()) for n in "abc"]
    given = {"debian": Given(str(tmp_path / "mirror"))}
    to = tmp_path / "to"

    def refused(choice: Choice, told: str) -> None:
        with pytest.raises(ImageError, match=told) as caught:
            fetching.fetch(choice, to, offline=True)
        assert caught.value.hint == fetching.OFFLINE_HINT

    dali = {"dali": file_source(DALI, home)}
    refused(kitchen.choice(dali, files, given), r"dali\.tar\.gz is missing")
    assert left(to) == []
    refused(kitchen.choice({}, files, given), r"3 files of Debian are missing.*pool/a\.deb")
    fetching.fetch(kitchen.choice(dali, files, given), to)
    fetching.fetch(kitchen.choice(dali, files), to, offline=True)
    (to / "dali.tar.gz").write_bytes(OTHER)
    refused(kitchen.choice(dali, files), r"dali\.tar\.gz is missing, or is not the one listed")
    wheel = f"pure==1 \\\n    --hash=sha256:{sha256(b'wheel')}\n"
    refused(kitchen.choice({}, files, requirements=wheel), "1 Python packages .*: pure==1")
    written(to / "wheels/pure-1-py3-none-any.whl", b"wheel")
    fetching.fetch(kitchen.choice({}, files, requirements=wheel), to, offline=True)


def test_python_packages_are_brought_by_pip(
    tmp_path: Path, kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def bring(file: Path, architecture: str, python: str, to: Path) -> None:
        asked.append((file.read_text(), architecture, python))
        written(to / "pure-1-py3-none-any.whl", b"wheel")

    monkeypatch.setattr(python_packages, "download", bring)
    wheel = f"pure==1 \\\n    --hash=sha256:{sha256(b'wheel')}\n"
    choice = kitchen.choice(requirements=wheel, architecture="aarch64")
    for _ in range(2):
        fetching.fetch(choice, tmp_path / "to")
    assert asked == [(wheel, "aarch64", choice.sources.python.version)]
    assert left(tmp_path / "to") == ["wheels"]
    assert left(tmp_path / "to/wheels") == ["pure-1-py3-none-any.whl"]


# -- what a build gets ---------------------------------------------------------------------------


def test_an_image_has_the_debian_files_that_it_needs(tmp_path: Path, kitchen: Kitchen) -> None:
    files = [
        mirror_file(tmp_path, use, use.encode(), use) for use in ("index", "build", "base", "dpam")
    ]
    steps = git_source("1" * 40, "2" * 64)
    assert kitchen.choice({}, files).debian_files() == files[:3]
    assert kitchen.choice({"dpam": steps}, files).debian_files() == [*files[:2], files[3]]


def test_what_is_laid_out_for_a_build(tmp_path: Path, kitchen: Kitchen) -> None:
    mine = written(tmp_path / "mine", OTHER)
    given = {"dali": Given(str(mine), sha256(OTHER))}
    wheel = f"pure==1 \\\n    --hash=sha256:{sha256(b'wheel')}\n"
    choice = kitchen.choice({"dali": file_source(DALI)}, given=given, requirements=wheel)
    written(tmp_path / "to/wheels/pure-1-py3-none-any.whl", b"wheel")
    written(tmp_path / "to/dali.tar.gz", DALI)
    parts = fetching.fetch(choice, tmp_path / "to", offline=True)
    laid_out = tmp_path / "laid-out"
    laid_out.mkdir()
    fetching.lay_out(choice, tmp_path / "to", parts, 7, laid_out)
    assert (laid_out / "dali.tar.gz").read_bytes() == OTHER
    assert (laid_out / "requirements.txt").read_text() == wheel
    told = json.loads((laid_out / "contents.json").read_text())
    assert told == contents(choice, parts, 7)
    lock = next((kitchen.folder / "containers").glob("*amd64.lock")).read_bytes()
    assert told["debian"]["lock"] == hashlib.sha256(lock).hexdigest()
    names = {path.name for path in laid_out.iterdir()}
    (own,) = (name for name in names if name.startswith("dpam_hpc-"))
    assert names == {
        "dali.tar.gz", "build-dali.sh", "requirements.txt", "contents.json", "wheels", own,
    }  # fmt: skip
