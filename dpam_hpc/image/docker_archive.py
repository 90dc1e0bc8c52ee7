"""An image for Docker, derived from the Apptainer one: the same files, environment and start.

One recipe for both: what a container of either has in it is proven once.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from dpam_hpc.errors import ImageError, StorageError
from dpam_hpc.image import apptainer, identity, inspecting, squashfs
from dpam_hpc.image.recipe import DEBIAN_NAMES

LAYER, CONFIG, MANIFEST = "layer.tar", "config.json", "manifest.json"
ENVIRONMENT = "/.singularity.d/env/90-environment.sh"
# Apptainer's own, which Docker has no use for.
LEFT_OUT = frozenset(
    {".singularity.d", ".exec", ".run", ".shell", ".test", "environment", "singularity"}
)


def write(image: Path, tag: str, to: Path) -> str:
    """Write what ``docker load`` reads; the image's id. Raises ImageError, StorageError."""
    own = inspecting.inspect(image)
    epoch = int(own.contents["epoch"])
    configuration = {
        "Cmd": ["--help"],
        "Entrypoint": [_program(image)],
        "Env": _environment(image),
        "Labels": {k: v for k, v in own.labels.items() if not k.startswith("org.label-schema.")},
        "WorkingDir": "/",
    }
    to = to.absolute()
    handle, temporary = tempfile.mkstemp(dir=to.parent, prefix=".dpam-hpc-docker-")
    try:
        with os.fdopen(handle, "wb") as file, tempfile.TemporaryDirectory(dir=to.parent) as work:
            layer = Path(work) / LAYER
            _write_layer(squashfs.unpack(image, Path(work) / "root"), epoch, layer)
            with layer.open("rb") as packed:
                diff_id = f"sha256:{identity.sha256(packed)}"
            config = _json(
                {
                    "architecture": DEBIAN_NAMES[own.contents["architecture"]],
                    "os": "linux",
                    "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
                    "config": configuration,
                    "rootfs": {"type": "layers", "diff_ids": [diff_id]},
                }
            )
            manifest = _json([{"Config": CONFIG, "RepoTags": [tag], "Layers": [LAYER]}])
            with tarfile.open(fileobj=file, mode="w") as archive:
                _add(archive, MANIFEST, io.BytesIO(manifest), len(manifest), epoch)
                _add(archive, CONFIG, io.BytesIO(config), len(config), epoch)
                with layer.open("rb") as packed:
                    _add(archive, LAYER, packed, layer.stat().st_size, epoch)
        os.chmod(temporary, 0o644)
        os.rename(temporary, to)
    except OSError as error:
        raise StorageError(f"{to} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    return f"sha256:{hashlib.sha256(config).hexdigest()}"


def _program(image: Path) -> str:
    """What the image's runscript starts with all that it is given."""
    runscript = str(apptainer.inspect(image).get("runscript", ""))
    found = re.search(r'^\s*exec (\S+) "\$@"$', runscript, re.MULTILINE)
    if not found:
        raise ImageError(f"the runscript of {image} is not one that Docker could start")
    return found[1]


def _environment(image: Path) -> list[str]:
    """What the image's %environment sets, as it comes out inside."""
    environments = apptainer.inspect(image).get("environment", {})
    names = sorted(set(re.findall(r"\b([A-Z_]+)=", environments.get(ENVIRONMENT, ""))))
    answer = apptainer.execute(
        image, ["sh", "-c", f". {ENVIRONMENT}; exec env"], "--containall", "--no-home"
    )
    if answer.code:
        raise ImageError(f"{image} does not start: {answer.said or answer.text}")
    values = dict(line.partition("=")[::2] for line in answer.text.splitlines())
    return [f"{name}={values[name]}" for name in names if name in values]


def _write_layer(root: Path, epoch: int, to: Path) -> None:
    def uniform(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if member.name in LEFT_OUT:
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = epoch
        return member

    with tarfile.open(to, "w") as tar:
        for name in sorted(os.listdir(root)):
            tar.add(root / name, name, filter=uniform)


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int, epoch: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, epoch, 0o644
    archive.addfile(member, content)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
