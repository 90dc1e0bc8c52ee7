"""The verbs of ``image``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpam_hpc.cli.options import path_option

if TYPE_CHECKING:
    from dpam_hpc.image.fetching import Choice

app = typer.Typer(
    help="The Apptainer image: built, proven, explained. Its recipe is public, an image with DALI"
    " or dpam in it is yours alone.",
    no_args_is_help=True,
)

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


@app.command("build")
def image_build(
    output: Annotated[Path | None, path_option("The file to write.", "-o", "--output")] = None,
    arch: Arch = None,
    without_dali: WithoutDali = False,
    without_dpam: WithoutDpam = False,
    source: Sources = None,
    epoch: Annotated[
        int | None, typer.Option(help="The time of everything in it, seconds since 1970.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing.")] = False,
    sources_dir: SourcesDir = None,
    sandbox_dir: Annotated[
        Path | None, path_option("Where to build; default: $APPTAINER_TMPDIR, $TMPDIR, /var/tmp.")
    ] = None,
    keep_log: Annotated[Path | None, path_option("Write what the build printed.")] = None,
) -> None:
    """Build the image: the same to the byte every time, and not at all if DALI is not right.

    Exit codes: 9 if it cannot be built, 6 if a disk is full.
    """
    from dpam_hpc import __version__
    from dpam_hpc.image import building

    choice = _choice(arch, without_dali, without_dpam, source)
    target = output or Path(f"dpam-hpc-{__version__}-{choice.architecture}.sif")
    built = building.build(
        choice,
        target,
        _sources_dir(sources_dir),
        epoch=epoch,
        offline=offline,
        sandbox_parent=sandbox_dir,
        keep_log=keep_log,
        say=_say,
    )
    print(f"{built.sha256}  {target}")
    print(f"{built.bytes / 1e6:.0f} MB, with {', '.join(['dpam-hpc', *sorted(built.parts)])}")
    for name in sorted({"dali", "dpam"} & set(built.parts)):
        print(f"not to be passed on: {name}: {choice.sources.parts()[name].redistribution}")


@app.command("self-test", hidden=True)
def image_self_test() -> None:
    """Prove this very image, from inside it."""
    from dpam_hpc.image import self_test

    self_test.run(print)


def _choice(
    arch: str | None, without_dali: bool, without_dpam: bool, source: list[str] | None
) -> Choice:
    from dpam_hpc.image import recipe
    from dpam_hpc.image.fetching import Choice, Given

    sources = recipe.read_sources()
    given = Given.parse_all(tuple(source or ()), sources)
    left_out = {"dali"} if without_dali else set()
    left_out |= {"dpam"} if without_dpam else set()
    parts = ({"dali", "dpam"} | set(given) & {"foldseek"}) - left_out
    return Choice(
        sources, recipe.folder(), arch or recipe.this_architecture(), frozenset(parts), given
    )


def _sources_dir(given: Path | None) -> Path:
    import platformdirs

    return given or platformdirs.user_cache_path("dpam-hpc") / "image-sources"


def _say(text: str) -> None:
    import sys

    print(text, file=sys.stderr, flush=True)
