"""The template bundle: what was written is read, and nothing else is."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpam_hpc import bundle
from dpam_hpc.align.aligner import Unusable
from dpam_hpc.bundle import Bundle, BundledTemplate
from dpam_hpc.errors import BundleError, ExitCode, StorageError

FINGERPRINT = "0123456789abcdef" * 4
TEMPLATES = [
    BundledTemplate("000000003", b"ATOM 1\n", bytes(range(60)) * 3),
    BundledTemplate("000000004", b"ATOM 2\n", bytes(range(70)) * 3),
    BundledTemplate("e1abA1", b"ATOM 3\n", bytes(range(80)) * 3),
    BundledTemplate("e1abA2", b"END\n", b"", "too short: 7 residues"),
]
IMPORTED = {template.id: template.imported for template in TEMPLATES[:3]}
IDS = [template.id for template in TEMPLATES]


def write(path: Path, templates: Iterable[BundledTemplate] = TEMPLATES) -> Path:
    """Write a bundle."""
    bundle.write(path, "dali", FINGERPRINT, templates)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bundle, alone in its folder."""
    return write(tmp_path / "ecod70.bundle")


@pytest.fixture
def opened(path: Path) -> Iterator[Bundle]:
    """The same, open."""
    with closing(Bundle(path)) as opened:
        yield opened


def refused(path: Path) -> BundleError:
    """How opening it is refused."""
    with pytest.raises(BundleError) as caught:
        Bundle(path)
    assert caught.value.exit_code == ExitCode.BUNDLE
    assert str(path) in caught.value.what
    assert "dpam-hpc bundle build" in caught.value.hint
    return caught.value


def flip(path: Path, at: int) -> None:
    """Change one bit of the byte ``at``; a second time changes it back."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_what_was_written_is_read(opened: Bundle) -> None:
    assert opened.templates() == IDS
    for name, imported in IMPORTED.items():
        assert opened.get(name) == imported
    assert opened.get("000000005") is None
    assert opened.get("") is None
    assert opened.pdb_checksum("e1abA1") == (hashlib.sha256(b"ATOM 3\n").hexdigest(), 7)
    assert opened.pdb_checksum("000000005") is None
    assert list(opened.verify()) == []


def test_a_template_that_cannot_be_aligned_says_why(opened: Bundle) -> None:
    with pytest.raises(Unusable, match=r"^too short: 7 residues$"):
        opened.get("e1abA2")


def test_it_says_what_it_is(opened: Bundle, path: Path) -> None:
    assert opened.info() == bundle.BundleInfo("dali", FINGERPRINT, 4, 1, path.stat().st_size)


def test_an_empty_one_can_be_read(tmp_path: Path) -> None:
    with closing(Bundle(write(tmp_path / "none.bundle", []))) as opened:
        assert opened.templates() == []
        assert (opened.info().templates, opened.info().unusable) == (0, 0)


def test_the_same_templates_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    assert write(tmp_path / "again.bundle", iter(TEMPLATES)).read_bytes() == path.read_bytes()
    other = write(tmp_path / "other.bundle", TEMPLATES[:3])
    assert other.read_bytes() != path.read_bytes()


def test_writing_tells_what_was_written(tmp_path: Path) -> None:
    info = bundle.write(tmp_path / "b", "dali", FINGERPRINT, TEMPLATES)
    assert (info.templates, info.unusable) == (4, 1)


def test_a_name_that_is_no_plain_address_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "50% of #1?").mkdir()
    with closing(Bundle(write(tmp_path / "50% of #1?" / "ä b.bundle"))) as opened:
        assert opened.get("e1abA1") == IMPORTED["e1abA1"]


# -- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IMPORTED)
def test_a_flipped_byte_in_a_template_is_found(path: Path, name: str) -> None:
    packed = zlib.compress(IMPORTED[name], 6)
    start = path.read_bytes().index(packed)
    for at in range(len(packed)):
        flip(path, start + at)
        with closing(Bundle(path)) as damaged:
            assert list(damaged.verify()) == [f"{name}: damaged"]
            for other, imported in IMPORTED.items():
                if other != name:
                    assert damaged.get(other) == imported
            if at > 1:  # the first two bytes of a zlib stream are its header
                with pytest.raises(BundleError, match="damaged"):
                    damaged.get(name)
        flip(path, start + at)


@pytest.mark.parametrize(
    "text",
    [
        "too short: 7 residues",
        hashlib.sha256(b"ATOM 3\n").hexdigest(),
        "the stored one",
    ],
    ids=["reason", "checksum of the PDB file", "checksum of the template"],
)
def test_a_flipped_byte_beside_a_template_is_found(path: Path, text: str) -> None:
    if text == "the stored one":
        with closing(sqlite3.connect(path)) as database:
            (text,) = database.execute("SELECT sha256 FROM template LIMIT 1").fetchone()
    flip(path, path.read_bytes().index(text.encode()) + 5)
    with closing(Bundle(path)) as damaged:
        assert list(damaged.verify())


def test_no_flipped_byte_gives_another_template(path: Path) -> None:
    """Whatever is read is right, or known to be damaged or absent."""
    wrong = []
    for at in [at for at, byte in enumerate(path.read_bytes()) if byte]:
        flip(path, at)
        try:
            with closing(Bundle(path)) as damaged:
                for name, imported in IMPORTED.items():
                    if damaged.get(name) not in (None, imported):
                        wrong.append(f"byte {at}: {name} is another")
        except BundleError:
            pass
        except Exception as error:
            wrong.append(f"byte {at}: {type(error).__name__}: {error}")
        flip(path, at)
    assert wrong == []


@pytest.mark.parametrize("kept", [0, 1, 99, 100, 16384, 0.5, -1])
def test_one_that_is_cut_short_is_refused(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)] if kept == 0.5 else content[: int(kept)])
    refused(path)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("HEADER    a PDB file\n" * 100)
    assert "no template bundle" in refused(text).what
    assert "No such file" in refused(tmp_path / "absent").what
    refused(tmp_path)
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE t (x)")
    refused(other)


def test_another_format_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE meta SET value = '2' WHERE key = 'format'")
    assert "format 2" in refused(path).what


@pytest.mark.parametrize(
    ("aligner", "fingerprint"), [("tmalign", FINGERPRINT), ("dali", "f" * 64), ("dali", "")]
)
def test_one_made_by_another_build_is_refused(
    opened: Bundle, path: Path, aligner: str, fingerprint: str
) -> None:
    opened.check_made_by("dali", FINGERPRINT)
    with pytest.raises(BundleError) as caught:
        opened.check_made_by(aligner, fingerprint)
    assert caught.value.exit_code == ExitCode.BUNDLE
    assert str(path) in caught.value.what
    assert FINGERPRINT[:12] in caught.value.what
    assert aligner in caught.value.what
    assert "bundle build" in caught.value.hint
    assert "--templates" in caught.value.hint


# -- whole or not at all --------------------------------------------------------------------------


def broken(at: int) -> Iterator[BundledTemplate]:
    """Templates whose making fails after ``at`` of them."""
    yield from TEMPLATES[:at]
    raise RuntimeError("import failed")


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, at: int) -> None:
    with pytest.raises(RuntimeError, match="import failed"):
        write(tmp_path / "new.bundle", broken(at))
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_an_old_bundle_as_it_was(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="import failed"):
        write(path, broken(2))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_an_old_bundle_is_replaced_under_its_readers(path: Path, opened: Bundle) -> None:
    write(path, TEMPLATES[:1])
    assert opened.get("e1abA1") == IMPORTED["e1abA1"]
    with closing(Bundle(path)) as new:
        assert new.templates() == IDS[:1]


def test_what_a_killed_build_left_is_no_hindrance(path: Path, tmp_path: Path) -> None:
    """In a container the next build may well have the same process number."""
    left: list[Path] = []

    def templates() -> Iterator[BundledTemplate]:
        left.extend(file for file in tmp_path.iterdir() if file != path)
        yield from TEMPLATES

    write(path, templates())
    for file in left:
        file.write_bytes(path.read_bytes())
    write(path, TEMPLATES[:1])
    with closing(Bundle(path)) as new:
        assert new.templates() == IDS[:1]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent/b\.bundle cannot be written") as caught:
        write(tmp_path / "absent" / "b.bundle")
    assert caught.value.exit_code == ExitCode.STORAGE
    assert caught.value.hint


# -- the PDB files --------------------------------------------------------------------------------


def test_changed_and_missing_pdb_files_are_told(opened: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "ECOD70"
    folder.mkdir()
    for template in TEMPLATES:
        (folder / f"{template.id}.pdb").write_bytes(template.pdb)
    assert list(opened.differing(folder, IDS)) == []
    (folder / "000000003.pdb").write_bytes(b"ATOM 9\n")
    (folder / "e1abA1.pdb").unlink()
    changed, missing = opened.differing(folder, IDS)
    assert changed.startswith("000000003: the PDB file is not the one")
    assert missing == f"e1abA1: No such file or directory in {folder}"
    assert len(list(opened.differing(folder, ["e1abA2"]))) == 0
