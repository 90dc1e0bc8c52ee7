"""Each bad input gets a named failure or a clear error; everything else goes on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import replay
from tests.conftest import HITS, lay_out

Launch = Callable[..., subprocess.CompletedProcess[str]]

ATOM = "ATOM      2  CA  MET A   1      -4.871  28.490  27.565  1.00  0.00           C\n"


def failures(folder: Path, target: str) -> dict[str, tuple[str, str]]:
    """Kind and reason by template."""
    lines = (folder / f"{target}_iterativeDali.failures.tsv").read_text().splitlines()
    assert lines[0] == "template\tkind\treason"
    return {name: (kind, reason) for name, kind, reason in (x.split("\t") for x in lines[1:])}


def data_with(tmp_path: Path, templates: dict[str, bytes]) -> Path:
    """A data folder with the sample's templates and some more."""
    folder = tmp_path / "data" / "ECOD70"
    folder.mkdir(parents=True)
    for path in (replay.DATA / "ECOD70").glob("*.pdb"):
        (folder / path.name).write_bytes(path.read_bytes())
    for name, content in templates.items():
        (folder / f"{name}.pdb").write_bytes(content)
    return folder.parent


def bad_templates() -> dict[str, tuple[bytes, str]]:
    good = (replay.DATA / "ECOD70" / "e1ejgA1.pdb").read_bytes()
    atoms = [line for line in good.splitlines(keepends=True) if line.startswith(b"ATOM")]
    return {
        "cut": (b"".join(atoms)[: -len(atoms[-1]) + 40], "no readable coordinates"),
        "empty": (b"", "the file is empty"),
        "binary": (bytes(range(256)) * 9, "binary"),
        "noatoms": (b"HEADER    NOTHING\nEND\n", "no ATOM lines"),
        "ca": (b"".join(line for line in atoms if line[13:15] == b"CA"), "CA-only"),
        "nan": (good.replace(atoms[30][30:38], b"     NaN", 1), "no readable coordinates"),
        "stars": (good.replace(atoms[30][30:38], b"********", 1), "no readable coordinates"),
        "short": (b"".join(x for x in atoms if int(x[22:26]) < 30), "29 residues"),
        "blank": (b"".join(x[:21] + b" " + x[22:] for x in atoms), "no letter or digit"),
    }


def test_every_bad_template_is_named_and_the_others_give_their_hits(
    launch: Launch, tmp_path: Path
) -> None:
    bad = bad_templates()
    data = data_with(tmp_path, {name: content for name, (content, _) in bad.items()})
    work = lay_out(tmp_path / "w", ("O05011",))
    listed = work.root / "O05011_hits4Dali"
    hostile = ["../x", "a b", "x;touch y", "$(id)", "missing9", *bad]
    listed.write_text(listed.read_text() + "\n".join(hostile) + "\n\n" + listed.read_text())
    done = launch(work, "--data-dir", data)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    named = failures(work.output, "O05011")
    for name, (_, reason) in bad.items():
        assert named[name][0] == "failed"
        assert reason in named[name][1], named[name]
    assert "missing" in named["missing9"][1]
    for name in hostile[:4]:
        assert named[repr(name)] == ("failed", "no template id")
    assert len(named) == len(hostile)
    for name in named:
        assert f"failed: O05011 {name}: " in done.stdout
    work.expect_whole()


def query(lines: list[bytes]) -> bytes:
    return b"".join(lines)


def bad_queries() -> dict[str, tuple[bytes | None, str]]:
    good = (replay.DATA / "O05011.pdb").read_bytes()
    atoms = [line for line in good.splitlines(keepends=True) if line.startswith(b"ATOM")]
    half = len(atoms) // 2
    return {
        "Pmissing": (None, "missing"),
        "Pempty": (b"", "the file is empty"),
        "Pbinary": (b"\0\1\2", "binary"),
        "Pcut": (query(atoms)[:-30], "no readable coordinates"),
        "Pchains": (
            query(atoms[:half] + [x[:21] + b"B" + x[22:] for x in atoms[half:]]),
            "2 chains",
        ),
        "Pmodels": (
            b"MODEL        1\n" + query(atoms) + b"ENDMDL\nMODEL        2\n" + query(atoms),
            "several models",
        ),
        "Pinsert": (query([x[:26] + b"A" + x[27:] for x in atoms[:50]] + atoms[50:]), "insertion"),
        "Pnumber": (query([x[:22] + b"   x" + x[26:] for x in atoms]), "is no number"),
        "Pshort": (query([x for x in atoms if int(x[22:26]) < 30]), "29 residues"),
        "Pca": (query([x for x in atoms if x[13:15] == b"CA"]), "CA-only"),
        "Plong": (
            query(
                [
                    ATOM.encode()[:13] + name + ATOM.encode()[16:22] + b"%4d" % i + x[26:]
                    for i in range(1, 4102)
                    for name, x in zip((b"N  ", b"CA ", b"C  ", b"O  "), atoms, strict=False)
                ]
            ),
            "4000 at most",
        ),
    }


def test_every_bad_query_is_named_and_the_others_give_their_hits(
    launch: Launch, tmp_path: Path
) -> None:
    bad = bad_queries()
    work = lay_out(tmp_path / "w", ("O05011",))
    for name, (content, _) in bad.items():
        (work.root / f"{name}_hits4Dali").write_text("e1ejgA1\n")
        if content is not None:
            (work.root / f"{name}.pdb").write_bytes(content)
    done = launch(work, "--json")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    assert (told["done"], told["failed"]) == (1, len(bad))
    for name, (_, reason) in bad.items():
        assert reason in failures(work.output, name)["-"][1], name
        assert not (work.output / f"{name}{HITS}").exists()
        assert not (work.output / f"{name}.iterativeDali.done").exists()
    work.expect_whole()


def test_failures_are_kept_until_they_are_tried_again(launch: Launch, tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    good = (work.root / "O05011.pdb").read_bytes()
    (work.root / "O05011.pdb").write_bytes(b"")
    assert launch(work).returncode == 3
    (work.root / "O05011.pdb").write_bytes(good)
    assert launch(work).returncode == 3
    again = launch(work, "--retry-failed")
    assert again.returncode == 0, again.stderr
    work.expect_whole()
    assert not (work.root / "O05011_iterativeDali.failures.tsv").exists()


@pytest.mark.parametrize("sharded", [False, True])
def test_an_empty_list_of_candidates_gives_empty_hits_and_a_marker(
    launch: Launch, tmp_path: Path, sharded: bool
) -> None:
    work = lay_out(tmp_path / "w", ("O05011",), sharded)
    (work.root / ("step06_candidates" if sharded else ".") / "P_hits4Dali").write_text("\n")
    assert launch(work).returncode == 0
    assert work.hits("P") == b""
    assert (work.output / "P.iterativeDali.done").exists()


def test_line_ends_of_another_system_do_no_harm(launch: Launch, tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    listed = work.root / "O05011_hits4Dali"
    listed.write_bytes(listed.read_bytes().replace(b"\n", b"\r\n"))
    assert launch(work).returncode == 0
    work.expect_whole()


def test_a_folder_without_targets_is_an_error(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    done = launch(lay_out(tmp_path / "w", ()))
    assert done.returncode == 2
    assert "there are no targets" in done.stderr


def test_target_ids_never_leave_the_folder(launch: Launch, tmp_path: Path) -> None:
    done = launch(lay_out(tmp_path / "w", ("O05011",)), "--target", "../O05011")
    assert done.returncode == 2
    assert "no target ids" in done.stderr


def test_more_room_than_there_is_is_said_before_any_work(launch: Launch, tmp_path: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    done = launch(work, "--min-free-gb", "1e9")
    assert done.returncode == 6
    assert "this run needs" in done.stderr
