"""Which image a file is, by its header and its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dpam_hpc.errors import ExitCode, ImageError
from dpam_hpc.image import identity
from dpam_hpc.image.identity import ImageIdentity, architecture, identify
from dpam_hpc.image.sif import OTHER
from tests.images import AARCH64, X86_64, sif


def test_an_image_is_what_its_bytes_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "READ_AT_ONCE", 7)  # and no part is left out
    path = sif(tmp_path / "a.sif", X86_64, b"x" * 1000)
    content = path.read_bytes()
    found = identify(path)
    assert found == ImageIdentity(path, hashlib.sha256(content).hexdigest(), "x86_64", len(content))
    assert found.short == found.sha256[:12]
    path.write_bytes(content[:-1] + b"y")
    assert identify(path).sha256 != found.sha256


def test_its_path_is_one_that_nodes_can_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sif(tmp_path / "a.sif")
    monkeypatch.chdir(tmp_path)
    assert identify(Path("a.sif")).path == tmp_path / "a.sif"


@pytest.mark.parametrize(
    ("code", "expected"), [(X86_64, "x86_64"), (AARCH64, "aarch64"), (b"03", OTHER)]
)
def test_the_header_tells_the_processors(code: bytes, expected: str, tmp_path: Path) -> None:
    assert architecture(sif(tmp_path / "a.sif", code)) == expected


@pytest.mark.parametrize("content", [b"", b"SIF_MAGIC\0", b"\x7fELF" + bytes(200)])
def test_what_is_no_image_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.sif"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="no Apptainer image") as caught:
        identify(path)
    assert caught.value.exit_code == ExitCode.IMAGE


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.sif cannot be read: No such file"):
        identify(tmp_path / "absent.sif")
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        identify(tmp_path)
