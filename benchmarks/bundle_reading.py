"""How a node gets its templates: the whole bundle copied, or only the rows that it needs read.

A bundle as large as ECOD70's is made of the sample's templates, imported, over and over, on a share
that delays (``slowfs.py``). Then it is copied as a run copies it, and rows are read over the share
by SQLite, as many different ones as some targets of 300 candidates need. A share's bandwidth is not
limited here: what a copy takes at a given one is told beside.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import measuring
import slowfs
from measuring import SAMPLE, Inputs, print_table

from dpam_hpc import bundle
from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.bundle import Bundle, BundledTemplate
from dpam_hpc.node.bundle_copy import BundleCopy

TEMPLATES = 63_000
CANDIDATES = 300
TARGETS = (1, 3, 10, 100, 1000)
LATENCY_MS, DATA_MS = 5.0, 2.0
BANDWIDTHS = {"1 Gbit/s": 125e6, "10 Gbit/s": 1.25e9}
NODES = (1, 16)
POPULAR = 0.5
"""Share of candidates that are drawn from a tenth of the templates: folds differ in frequency."""


def make(path: Path, imported: dict[str, bytes], templates: int) -> None:
    """A bundle of so many templates, with the contents of ``imported`` in turn."""
    contents = list(imported.values())

    def rows() -> Iterator[BundledTemplate]:
        for number in range(templates):
            yield BundledTemplate(name(number), b"", contents[number % len(contents)])

    bundle.write(path, DaliAligner.name, "made up", rows())


def name(number: int) -> str:
    """A template's id."""
    return f"e{number:06d}A1"


def imported_sample(arguments: argparse.Namespace, folder: Path) -> dict[str, bytes]:
    """The sample's templates as DALI imports them; by its recordings where there is no DALI."""
    home = measuring.dali_home_or_replay(arguments, folder)
    inputs = Inputs.of(argparse.Namespace(inputs=SAMPLE, targets=None, candidates=None))
    measuring.build_bundle(inputs, home, folder / "small", workers=2)
    with closing(Bundle(measuring.bundle_in(folder / "small"))) as small:
        rows = {template: small.get(template) for template in small.templates()}
    return {template: content for template, content in rows.items() if content}


def needed(targets: int, templates: int, drawn: random.Random) -> list[str]:
    """Templates that so many targets need, each once, in the order of first use."""
    popular = max(1, templates // 10)
    found: dict[str, None] = {}
    for _ in range(targets * CANDIDATES):
        top = popular if drawn.random() < POPULAR else templates
        found[name(drawn.randrange(top))] = None
    return list(found)


def mounted(
    arguments: argparse.Namespace, folder: Path, action: Any
) -> tuple[float, dict[str, int], Any]:
    """Seconds and operations of ``action`` on a fresh mount of the share, and its answer."""
    mount = folder / "mount"
    options: list[str | float] = ["--nfs", "--latency-ms", LATENCY_MS, "--data-latency-ms", DATA_MS]
    with slowfs.mounted(folder / "shared", mount, options=options):
        slowfs.reset(mount)
        begun = time.monotonic()
        answer = action(mount / "templates.bundle")
        seconds = time.monotonic() - begun
        return seconds, slowfs.stats(mount)["operations"], answer


def copy(path: Path, place: Path) -> int:
    """Copy the bundle as a run does; bytes."""
    copied = BundleCopy(path, place)
    size = copied.path.stat().st_size
    copied.release(keep=False)
    return size


def read_rows(path: Path, templates: list[str]) -> None:
    """Read so many rows where they lie."""
    with closing(Bundle(path)) as opened:
        for template in templates:
            assert opened.get(template)


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dali-home", type=Path, help="to import the sample; else recordings")
    parser.add_argument("--templates", type=int, default=TEMPLATES)
    parser.add_argument("--most-rows", type=int, default=3000, help="read; more are extrapolated")
    measuring.add_json_argument(parser)
    arguments = parser.parse_args()
    if why := slowfs.why_none():
        parser.error(why)
    return arguments


def main() -> None:
    """Copy, read, compare."""
    arguments = parse()
    drawn = random.Random(1)
    with measuring.fresh_folder() as folder:
        (folder / "shared").mkdir()
        imported = imported_sample(arguments, folder)
        make(folder / "shared" / "templates.bundle", imported, arguments.templates)
        place = folder / "local"
        place.mkdir()
        seconds, operations, size = mounted(arguments, folder, lambda path: copy(path, place))
        measuring.say(
            f"{arguments.templates} templates, {size / 1e6:.0f} MB; {LATENCY_MS:g} ms an operation,"
            f" {DATA_MS:g} ms one on data; {CANDIDATES} candidates a target, {POPULAR:.0%} of them"
            " from a tenth of the templates"
        )
        whole = {"seconds": seconds, "reads": operations["read"], "bytes": size}
        reading = []
        for targets in TARGETS:
            rows = needed(targets, arguments.templates, drawn)
            reading.append(rows_over_the_share(arguments, folder, targets, rows, size))
    per_row = reading[-1]["seconds"] / reading[-1]["rows"]
    table: list[list[object]] = [
        ["whole, copied", arguments.templates, seconds, operations["read"], size / 1e6]
    ]
    table += [
        [f"rows of {r['targets']} targets", r["rows"], r["seconds"], r["reads"], r["bytes"] / 1e6]
        for r in reading
    ]
    print_table(["", "templates", "s", "reads", "MB"], table)
    rates: list[list[object]] = []
    for label, rate in BANDWIDTHS.items():
        for nodes in NODES:
            copied = max(seconds, nodes * size / rate)
            row = [f"{label}, {nodes} nodes at once" if nodes > 1 else label, copied]
            rates.append([*row, round(copied / per_row), copied / per_row / CANDIDATES])
    print_table(["bandwidth of the share", "copy s", "as long as rows", "or targets"], rates)
    measuring.write_json(arguments.json, arguments.dali_home, whole=whole, rows=reading)


def rows_over_the_share(
    arguments: argparse.Namespace, folder: Path, targets: int, rows: list[str], size: int
) -> dict[str, Any]:
    """What reading ``rows`` takes; of many only some are read, and told for all."""
    some = rows[: arguments.most_rows]
    seconds, operations, _ = mounted(arguments, folder, lambda path: read_rows(path, some))
    factor = len(rows) / len(some)
    return {
        "targets": targets, "rows": len(rows), "seconds": seconds * factor,
        "reads": round(operations["read"] * factor),
        "bytes": round(size * len(rows) / arguments.templates),
    }  # fmt: skip


if __name__ == "__main__":
    main()
