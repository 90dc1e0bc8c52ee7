"""Debian's packages: locks, and what is taken from a mirror."""

from __future__ import annotations

import hashlib
import lzma
import re
import shutil
from pathlib import Path

import pytest

from dpam_hpc.errors import ImageError
from dpam_hpc.image import debian, debian_lock, recipe
from dpam_hpc.image.debian import INDEX, MirrorFile
from dpam_hpc.image.recipe import DEBIAN_NAMES, Debian
from tests.image.conftest import Program
from tests.image.made_up import ROOT, mirror_file, sha256

# -- locks ---------------------------------------------------------------------------------------


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = [
        MirrorFile("0" * 64, 7, ("index",), "dists/x/InRelease"),
        MirrorFile(
            "f" * 64, 0, ("build", "base", "dpam"), "pool/main/g/g++/g++_4%3a1~2+b1_all.deb"
        ),
    ]
    lock = tmp_path / "debian.lock"
    lock.write_text("# why\n\n" + "".join(f"{file}\n" for file in files))
    assert debian.read_lock(lock) == files


@pytest.mark.parametrize(
    "line",
    [
        "short 7 base pool/a.deb",
        f"{'0' * 64} seven base pool/a.deb",
        f"{'0' * 64} 7 base",
        f"{'0' * 64} 7 base pool/a b.deb",
        f"{'0' * 64} 7 base /etc/passwd",
        f"{'0' * 64} 7 base pool/../../a.deb",
    ],
)
def test_a_bad_line_is_told_with_its_number(line: str, tmp_path: Path) -> None:
    lock = tmp_path / "debian.lock"
    lock.write_text(f"# why\n{'0' * 64} 7 base pool/a.deb\n{line}\n")
    with pytest.raises(ImageError, match=r"debian\.lock:3 is no line of a lock") as caught:
        debian.read_lock(lock)
    assert line[:20] in caught.value.what


def test_an_architecture_without_a_recipe() -> None:
    with pytest.raises(ImageError, match="no recipe for riscv64") as caught:
        debian.lock_path(ROOT, "riscv64")
    assert caught.value.hint == "images are built for x86_64 and aarch64"


@pytest.mark.parametrize("architecture", DEBIAN_NAMES)
def test_the_shipped_lock(architecture: str) -> None:
    sources = recipe.read_sources().debian
    files = debian.read_lock(debian.lock_path(ROOT, architecture))
    arch = DEBIAN_NAMES[architecture]
    release, packages = (file for file in files if file.uses == (INDEX,))
    assert release.path == f"dists/{sources.suite}/InRelease"
    by_hash = f"dists/{sources.suite}/main/binary-{arch}/by-hash/SHA256/{packages.sha256}"
    assert packages.path == by_hash
    assert len({file.path for file in files}) == len(files)
    uses = {}
    for file in files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.bytes > 0
        if file.uses != (INDEX,):
            assert re.fullmatch(rf"pool/main/.*_({arch}|all)\.deb", file.path)
            uses[Path(file.path).name.partition("_")[0]] = set(file.uses)
    assert len(uses) == len(files) - 2, "a package in two versions"
    assert set().union(*uses.values()) == {"build", "base", "dpam"}
    assert all("dpam" in found for found in uses.values() if "base" in found)
    asked = {"build": sources.build, "base": sources.base, "dpam": (*sources.base, *sources.dpam)}
    for use, names in asked.items():
        for name in ("apt", *names):
            assert use in uses[name], (name, use)
    for name in debian_lock.LEFT_OUT.split(","):
        assert not uses.get(name, set()) & {"base", "dpam"}, name


def test_both_architectures_are_locked_from_one_release() -> None:
    amd64, arm64 = (debian.read_lock(debian.lock_path(ROOT, a))[0] for a in DEBIAN_NAMES)
    assert amd64 == arm64


# -- mirrors -------------------------------------------------------------------------------------


def left(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def test_what_is_missing_is_brought_once(tmp_path: Path) -> None:
    mirror, to = tmp_path / "a mirror", tmp_path / "to"
    files = [mirror_file(mirror, f"pool/{n}/{n}_1+b1.deb", n.encode() * 9) for n in "abcdefghijk"]
    assert debian.missing(files, to) == files
    debian.fetch(files, debian.mirrors(str(mirror)), to)
    assert left(to) == sorted(file.path for file in files)
    assert debian.missing(files, to) == []
    shutil.rmtree(mirror)
    debian.fetch(files, [], to)  # nothing is asked for again
    (to / files[3].path).write_bytes(b"damaged")
    assert debian.missing(files, to) == [files[3]]


def test_a_file_of_the_same_length_is_not_taken_for_it(tmp_path: Path) -> None:
    file = mirror_file(tmp_path / "mirror", "pool/a.deb", b"right")
    mirror_file(tmp_path / "to", "pool/a.deb", b"wrong")
    debian.fetch([file], debian.mirrors(str(tmp_path / "mirror")), tmp_path / "to")
    assert (tmp_path / "to/pool/a.deb").read_bytes() == b"right"


def test_a_file_with_another_checksum_is_not_kept(tmp_path: Path) -> None:
    file = mirror_file(tmp_path / "mirror", "pool/a.deb", b"right")
    mirror_file(tmp_path / "mirror", "pool/a.deb", b"wrong")
    with pytest.raises(ImageError, match=f"has SHA-256 {sha256(b'wrong')}, not") as caught:
        debian.fetch([file], debian.mirrors(str(tmp_path / "mirror")), tmp_path / "to")
    assert caught.value.hint == debian.MIRROR_HINT
    assert left(tmp_path / "to") == []


def test_a_second_mirror_has_what_the_first_lacks(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    first = mirror_file(one, "pool/a.deb", b"a")
    second = mirror_file(two, "pool/b.deb", b"b")
    mirrors = [*debian.mirrors(str(one)), *debian.mirrors(str(two))]
    debian.fetch([first, second], mirrors, tmp_path / "to")
    assert left(tmp_path / "to") == ["pool/a.deb", "pool/b.deb"]
    with pytest.raises(ImageError) as caught:
        debian.fetch([MirrorFile("0" * 64, 1, (), "pool/c.deb")], mirrors, tmp_path / "to")
    assert all(f"{mirror}/pool/c.deb" in caught.value.what for mirror in mirrors)


def test_without_a_mirror_it_is_said_how_to_name_one(tmp_path: Path, program: Program) -> None:
    program("apt-get", "exit 1")
    file = MirrorFile("0" * 64, 1, (), "pool/a.deb")
    with pytest.raises(ImageError, match="no Debian mirror is known") as caught:
        debian.fetch([file], debian.mirrors(None), tmp_path)
    assert "--source debian=URL" in caught.value.hint


def test_mirrors_are_those_of_this_machine(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("apt-get", "printf '%s\\n' http://a/debian/ http://a/debian-security/ http://a/debian/")
    assert debian.mirrors(None) == ["http://a/debian/"]
    assert debian.mirrors("http://b/debian") == ["http://b/debian"]
    monkeypatch.setenv("PATH", "/nonexistent")
    assert debian.mirrors(None) == []


# -- making a lock -------------------------------------------------------------------------------

STANZA = """Package: {name}
Version: 1
Depends: libc6 (>= 2), x: y
Description: what it is
 SHA256: not this one
Filename: pool/{name}.deb
Size: {size}
SHA256: {digest}
"""


def index(*names: str) -> str:
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    return "\n".join(STANZA.format(name=n, size=len(n), digest=digests[n]) for n in names)


def test_a_list_of_packages() -> None:
    found = debian_lock._packages(index("g++", "libc6") + "\n\n")
    assert found["g++"] == (sha256(b"g++"), "3", "pool/g++.deb")
    assert set(found) == {"g++", "libc6"}


def test_a_file_of_a_release() -> None:
    release = "Suite: x\nMD5Sum:\n aa 1 main/P.xz\nSHA256:\n bb 1 main/P.gz\n cc 1 main/P.xz\n"
    assert debian_lock._listed(release, "main/P.xz") == "cc"
    with pytest.raises(ImageError, match=r"does not name main/Q\.xz"):
        debian_lock._listed(release, "main/Q.xz")


ASKED = Debian(suite="x", version="1", build=("gcc",), base=("perl",), dpam=("hhsuite",))
DEBOOTSTRAP = """
for word; do
    case $word in --include=*) include=${word#--include=};; --arch=arm64) arch=yes;; esac
done
[ "$arch" ] || exit 3
echo "${include//,/ } libc6"
"""


def lay_out_mirror(mirror: Path) -> str:
    """A mirror with an index; the index's checksum."""
    packed = lzma.compress(index("apt", "gcc", "hhsuite", "libc6", "perl", "unasked").encode())
    digest = sha256(packed)
    mirror_file(mirror, f"dists/x/main/binary-arm64/by-hash/SHA256/{digest}", packed)
    release = f"Suite: x\nSHA256:\n {digest} 9 main/binary-arm64/Packages.xz\n"
    mirror_file(mirror, "dists/x/InRelease", release.encode())
    return digest


def test_a_lock_is_made_from_a_mirror(tmp_path: Path, program: Program) -> None:
    digest = lay_out_mirror(tmp_path / "mirror")
    program("debootstrap", DEBOOTSTRAP)
    made = debian_lock.make_lock(ASKED, "aarch64", (tmp_path / "mirror").as_uri())
    lock = tmp_path / "debian-arm64.lock"
    lock.write_text("".join(f"{file}\n" for file in made))
    assert debian.read_lock(lock) == made
    assert [file.path for file in made[:2]] == [
        "dists/x/InRelease", f"dists/x/main/binary-arm64/by-hash/SHA256/{digest}"
    ]  # fmt: skip
    assert all(file.uses == (INDEX,) for file in made[:2])
    assert debian.missing(made[:2], tmp_path / "mirror") == []
    assert {file.path: file.uses for file in made[2:]} == {
        "pool/apt.deb": ("build", "base", "dpam"),
        "pool/gcc.deb": ("build",),
        "pool/hhsuite.deb": ("dpam",),
        "pool/libc6.deb": ("build", "base", "dpam"),
        "pool/perl.deb": ("base", "dpam"),
    }
    assert (made[3].sha256, made[3].bytes) == (sha256(b"gcc"), 3)


def test_a_mirror_in_the_middle_of_a_change_is_not_locked(tmp_path: Path, program: Program) -> None:
    digest = lay_out_mirror(tmp_path / "mirror")
    program("debootstrap", DEBOOTSTRAP)
    path = tmp_path / "mirror/dists/x/main/binary-arm64/by-hash/SHA256" / digest
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ImageError, match="has SHA-256"):
        debian_lock.make_lock(ASKED, "aarch64", (tmp_path / "mirror").as_uri())
    path.unlink()
    with pytest.raises(ImageError, match="No such file"):
        debian_lock.make_lock(ASKED, "aarch64", (tmp_path / "mirror").as_uri())


def test_debootstrap_that_fails_is_told(tmp_path: Path, program: Program) -> None:
    lay_out_mirror(tmp_path / "mirror")
    program("debootstrap", "echo 'E: no such script' >&2; exit 1")
    with pytest.raises(ImageError, match="debootstrap: E: no such script"):
        debian_lock.make_lock(ASKED, "aarch64", (tmp_path / "mirror").as_uri())
