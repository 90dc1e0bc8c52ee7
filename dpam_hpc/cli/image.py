"""The verbs of ``image``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpam_hpc.cli.interruptible import interruptible
from dpam_hpc.cli.options import AsJson, group, path_argument, path_option

if TYPE_CHECKING:
    from dpam_hpc.image.choice import Choice
    from dpam_hpc.image.verifying import Check

app = group(
    "The Apptainer image: built, proven, explained. Its recipe is public; an image with DALI or"
    " dpam in it is yours alone."
)

SOURCES_LEFT = "nothing of it is left but the sources; start it again"

Arch = Annotated[str | None, typer.Option("--arch", help="x86_64 or aarch64; this machine's.")]
WithoutDali = Annotated[bool, typer.Option("--without-dali", help="Leave DALI out.")]
WithoutDpam = Annotated[bool, typer.Option("--without-dpam", help="Leave dpam out.")]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME=PATH",
        help="A source of your own: dali, dpam, foldseek, or debian (a mirror); again for more."
        " PATH#sha256=HEX: one of other contents than those listed.",
    ),
]
SourcesDir = Annotated[
    Path | None, path_option("Where sources are kept; default: in the user's cache.")
]
SandboxDir = Annotated[
    Path | None, path_option("Where to build; default: $APPTAINER_TMPDIR, $TMPDIR, /var/tmp.")
]


@app.command("build")
def image_build(
    output: Annotated[Path | None, path_option("The file to write.", "-o", "--output")] = None,
    arch: Arch = None,
    without_dali: WithoutDali = False,
    without_dpam: WithoutDpam = False,
    source: Sources = None,
    epoch: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="The time of everything in it, since 1970."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing.")] = False,
    sources_dir: SourcesDir = None,
    sandbox_dir: SandboxDir = None,
    keep_log: Annotated[Path | None, path_option("Write what the build printed.")] = None,
    json: AsJson = False,
) -> None:
    """Build the image: the same to the byte every time, and not at all if DALI is not right.

    Exit codes: 9 if it cannot be built, 6 if a disk is full, 75 if it is interrupted.
    """
    from dpam_hpc import __version__
    from dpam_hpc.image import building
    from dpam_hpc.image.recipe import NOT_TO_GIVE

    choice = _choice(arch, without_dali, without_dpam, source)
    target = output or Path(f"dpam-hpc-{__version__}-{choice.architecture}.sif")
    with interruptible(SOURCES_LEFT):
        built = building.build(
            choice, target, _sources_dir(sources_dir), epoch=epoch, offline=offline,
            sandbox_parent=sandbox_dir, keep_log=keep_log, say=_say,
        )  # fmt: skip
    if json:
        from dpam_hpc.show.document import document

        print(
            document(
                file=str(target), sha256=built.sha256, bytes=built.bytes, parts=dict(built.parts),
                not_to_give=sorted(NOT_TO_GIVE & set(built.parts)),
            )
        )  # fmt: skip
        return
    print(f"{built.sha256}  {target}")
    print(f"{built.bytes / 1e6:.0f} MB, with {', '.join(['dpam-hpc', *sorted(built.parts)])}")
    for name in sorted(NOT_TO_GIVE & set(built.parts)):
        print(f"not to be passed on: {name}: {choice.sources.parts()[name].redistribution}")


@app.command("verify")
def image_verify(
    file: Annotated[Path, path_argument("An image that dpam-hpc image build made.")],
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build it anew and compare, to the byte.")
    ] = False,
    source: Sources = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing for --rebuild.")
    ] = False,
    sources_dir: SourcesDir = None,
    sandbox_dir: SandboxDir = None,
    json: AsJson = False,
) -> None:
    """Prove an image: checksums, architecture, known answer, bind and write; exit code 9 if not."""
    from dataclasses import asdict

    from dpam_hpc.errors import ExitCode
    from dpam_hpc.image import recipe, verifying
    from dpam_hpc.show.document import document

    checks: list[Check] = []

    def note(check: Check) -> None:
        checks.append(check)
        if not json:
            print(f"{'ok    ' if check.good else 'FAILED'} {check.name}: {check.text}", flush=True)

    for check in verifying.verify(file, recipe.read_sources()):
        note(check)
    if rebuild and all(check.good for check in checks):
        with interruptible(SOURCES_LEFT):
            note(_rebuilt(file, source, offline, sources_dir, sandbox_dir))
    if json:
        print(document(file=str(file), checks=[asdict(check) for check in checks]))
    if not all(check.good for check in checks):
        raise typer.Exit(ExitCode.IMAGE)


@app.command("inspect")
def image_inspect(
    file: Annotated[Path, path_argument("An image that dpam-hpc image build made.")],
    spdx: Annotated[
        bool, typer.Option("--spdx", help="Its bill of materials, SPDX 2.3 as JSON.")
    ] = False,
    json: AsJson = False,
) -> None:
    """What is in an image: sources with checksums, packages, licences. Nothing is started."""
    import json as json_module

    from dpam_hpc.image.identity import identify
    from dpam_hpc.image.inspecting import KINDS, inspect
    from dpam_hpc.image.recipe import NOT_TO_GIVE
    from dpam_hpc.show.document import document

    found = inspect(file)
    if spdx:
        print(json_module.dumps(found.spdx, indent=1))
        return
    identity = identify(file)
    if json:
        more = {"sha256": identity.sha256, "bytes": identity.bytes}
        # An image has a number of its own for the form of what it says of itself.
        print(document(file=str(file), **more, contents=found.contents))
        return
    own = found.contents
    print(f"{file}: dpam-hpc {own['dpam_hpc']} for {own['architecture']}")
    print(f"  created      {found.labels.get('org.opencontainers.image.created', 'unknown')}")
    print(f"  SHA-256      {identity.sha256}, {identity.bytes / 1e6:.0f} MB")
    print(f"  Debian       {own['debian']['suite']} {own['debian']['version']}")
    for name, part in own["parts"].items():
        print(f"  {name:12} {part['title']}{'' if part['as_listed'] else ' (of the user)'}")
        for key in ("commit", "sha256", "licence", "redistribution"):
            print(f"    {key:14} {part[key]}" if part[key] else f"    {key:14} -")
    if not NOT_TO_GIVE & set(own["parts"]):
        print("  It has neither DALI nor dpam in it, and may be passed on.")
    for kind, title in KINDS.items():
        packages = found.packages(kind)
        if packages and kind != "Part":
            print(f"  {len(packages)} {title}:")
            for name, version in packages:
                print(f"    {name:30} {version}")


@app.command("docker")
def image_docker(
    file: Annotated[Path, path_argument("An image that dpam-hpc image build made.")],
    output: Annotated[Path, path_option("The archive to write.", "-o", "--output")],
    tag: Annotated[str, typer.Option(help="Its name in Docker.")] = "dpam-hpc:latest",
    json: AsJson = False,
) -> None:
    """The same image for Docker: same files, environment and start; docker load reads it."""
    from dpam_hpc.image import docker_archive

    image_id = docker_archive.write(file, tag, output)
    if json:
        from dpam_hpc.show.document import document

        print(document(file=str(output), image_id=image_id, tag=tag))
        return
    print(f"{image_id}  {output}")
    print(f"docker load -i {output}; docker run --rm {tag} --help")


@app.command("sources")
def image_sources(
    fetch: Annotated[
        Path | None, path_option("Bring all of it into this folder, for a build --offline.")
    ] = None,
    lock: Annotated[
        bool, typer.Option("--lock", help="Write the lists of Debian's files anew.")
    ] = False,
    arch: Arch = None,
    without_dali: WithoutDali = False,
    without_dpam: WithoutDpam = False,
    source: Sources = None,
    json: AsJson = False,
) -> None:
    """What a build fetches, from where, with which checksums."""
    import shutil

    from dpam_hpc.image import choice as choices
    from dpam_hpc.image import debian_lock, fetching
    from dpam_hpc.show.document import document

    choice = _choice(arch, without_dali, without_dpam, source)
    if lock:
        given = choice.given.get("debian")
        for path in debian_lock.write_locks(
            choice.recipe, choice.sources.debian, given.path if given else None
        ):
            print(f"written: {path}")
        return
    if fetch is not None:
        parts = fetching.fetch(choice, fetch, say=_say)
        # For those who call Apptainer themselves.
        shutil.rmtree(fetch / "build", ignore_errors=True)
        fetching.lay_out(choice, fetch, parts, choice.sources.epoch, fetch / "build")
        print(
            f"{fetch}: all that a build takes; there: image build --offline --sources-dir {fetch}"
        )
        for name, digest in parts.items():
            print(f"  {name:10} {digest}")
        return
    listed = choices.listed(choice)
    if json:
        print(document(sources=listed))
        return
    for entry in listed:
        print(f"{entry['name']:10} {entry['what']}")
        for key in ("from", "commit", "sha256", "licence", "redistribution"):
            if entry.get(key):
                print(f"  {key:14} {entry[key]}")


@app.command("self-test", hidden=True)
def image_self_test() -> None:
    """Prove this very image, from inside it."""
    from dpam_hpc.image import self_test

    self_test.run(print)


def _rebuilt(
    file: Path,
    source: list[str] | None,
    offline: bool,
    sources_dir: Path | None,
    sandbox_dir: Path | None,
) -> Check:
    """Build an image of the same parts anew and compare the two."""
    import tempfile

    from dpam_hpc.image import building
    from dpam_hpc.image.inspecting import inspect
    from dpam_hpc.image.verifying import Check, first_difference

    own = inspect(file).contents
    parts = own["parts"]
    given = [*(source or ())]
    choice = _choice(own["architecture"], "dali" not in parts, "dpam" not in parts, given)
    with tempfile.TemporaryDirectory(prefix="dpam-hpc-rebuild-", dir=sandbox_dir) as folder:
        built = building.build(
            choice, Path(folder) / file.name, _sources_dir(sources_dir), epoch=own["epoch"],
            offline=offline, sandbox_parent=sandbox_dir, say=_say,
        )  # fmt: skip
        difference = first_difference(file, built.path)
    if difference:
        return Check("rebuild", False, f"it differs, first in {difference}")
    return Check("rebuild", True, "the same to the byte")


def _choice(
    arch: str | None, without_dali: bool, without_dpam: bool, source: list[str] | None
) -> Choice:
    from dpam_hpc.image import recipe
    from dpam_hpc.image.choice import Choice, Given

    sources = recipe.read_sources()
    given = Given.parse_all(tuple(source or ()), sources)
    left_out = {"dali"} if without_dali else set()
    left_out |= {"dpam"} if without_dpam else set()
    parts = (recipe.NOT_TO_GIVE | set(given) & {"foldseek"}) - left_out
    return Choice(
        sources, recipe.folder(), arch or recipe.this_architecture(), frozenset(parts), given
    )


def _sources_dir(given: Path | None) -> Path:
    import platformdirs

    return given or platformdirs.user_cache_path("dpam-hpc") / "image-sources"


def _say(text: str) -> None:
    import sys

    print(text, file=sys.stderr, flush=True)
