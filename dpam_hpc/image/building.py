"""Build an image: sources, root, squashfs, SIF; the file is complete or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc import __version__
from dpam_hpc.errors import ConfigError, StorageError
from dpam_hpc.image import download, fetching, sandbox, sbom, sif, squashfs
from dpam_hpc.image.choice import Choice
from dpam_hpc.image.choice import contents as contents_of
from dpam_hpc.image.recipe import this_architecture


@dataclass(frozen=True)
class Built:
    """An image that was built: its checksum, and the parts that it has with theirs."""

    path: Path
    sha256: str
    bytes: int
    parts: dict[str, str]


def build(
    choice: Choice,
    output: Path,
    sources: Path,
    *,
    epoch: int | None = None,
    offline: bool = False,
    sandbox_parent: Path | None = None,
    keep_log: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Built:
    """Build ``choice`` into ``output``, with sources from (and kept in) ``sources``.

    Raises ImageError, StorageError or ConfigError; nothing is left under the final name then.
    """
    if choice.architecture != this_architecture():
        raise ConfigError(
            f"an image for {choice.architecture} cannot be built on {this_architecture()}",
            "its programs are compiled and proven in the build: build on such a machine",
        )
    sandbox.check_machine()
    when = choice.sources.epoch if epoch is None else epoch
    output = output.absolute()
    _check_output(output)
    with sandbox.work_folder(sandbox_parent, "dpam" in choice.parts) as work:
        parts = fetching.fetch(choice, sources, offline=offline, say=say)
        log = work / "log"
        log.touch()
        try:
            say(f"building the root in {work}")
            root = _build_root(choice, sources, parts, when, work, log)
            say("packing it")
            return _write(choice, root, parts, when, work, output)
        finally:
            if keep_log is not None:
                with suppress(OSError):
                    shutil.copyfile(log, keep_log)


def _check_output(output: Path) -> None:
    """That the file can be written is found out before half an hour of work, not after it."""
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise StorageError(f"{output.parent} cannot be written: {error.strerror}") from None


def _build_root(
    choice: Choice, sources: Path, parts: dict[str, str], epoch: int, work: Path, log: Path
) -> Path:
    laid_out = work / "sources"
    fetching.lay_out(choice, sources, parts, epoch, laid_out)
    packages = choice.sources.debian
    # Under one name in every build: debootstrap notes where its packages came from.
    mirror = work / "debian"
    for file in choice.debian_files():
        (mirror / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources / "debian" / file.path, mirror / file.path)
    arguments = {
        "SOURCES": str(laid_out),
        "MIRROR": mirror.as_uri(),
        "BUILD_PACKAGES": " ".join(packages.build),
        "PACKAGES": " ".join((*packages.base, *(packages.dpam if "dpam" in parts else ()))),
        "VERSION": __version__,
    }
    return sandbox.build(choice.recipe / "Apptainer.def", arguments, work, log, epoch)


def _write(
    choice: Choice,
    root: Path,
    parts: dict[str, str],
    epoch: int,
    work: Path,
    output: Path,
) -> Built:
    recipe = (choice.recipe / "Apptainer.def").read_text()
    own = json.dumps(contents_of(choice, parts, epoch), separators=(",", ":"))
    metadata = sandbox.make_uniform(root, recipe, own, epoch)
    bill = json.dumps(sbom.describe(root), indent=1, sort_keys=True) + "\n"
    packed = work / "root.squashfs"
    squashfs.pack(root, packed, epoch)
    contents = sif.Parts(
        recipe.encode(),
        json.dumps(metadata, separators=(",", ":"), sort_keys=True).encode(),
        bill.encode(),
        packed,
    )
    try:
        return _finish(contents, choice.architecture, epoch, output, parts)
    except OSError as error:
        raise StorageError(f"{output} cannot be written: {error.strerror}") from None


def _finish(
    contents: sif.Parts, architecture: str, epoch: int, output: Path, parts: dict[str, str]
) -> Built:
    """Write the file under another name first: under its own it is whole."""
    handle, temporary = tempfile.mkstemp(dir=output.parent, prefix=".dpam-hpc-image-")
    try:
        with os.fdopen(handle, "wb") as file:
            sif.write(contents, architecture, epoch, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o755)  # noqa: S103 # it starts by itself, as Apptainer's do
        digest = download.sha256(Path(temporary))
        os.rename(temporary, output)
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    output.with_name(output.name + ".sha256").write_text(f"{digest}  {output.name}\n")
    return Built(output, digest, output.stat().st_size, parts)
