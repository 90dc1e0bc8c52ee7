"""dpam_c2's steps as data: names, files, what each needs; stages, the steps of one job.

Facts of dpam_c2 2.0.0. Files are named by what follows the target's id. Costs are upstream's words
for a protein of 500 residues.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dpam_hpc.errors import ConfigError

DALI = 7
ALL = (*range(1, 14), *range(15, 25))
"""There is no step 14; 25 is a stub."""
RANGE = re.compile(r"([0-9]{1,2})?(-)?([0-9]{1,2})?", re.ASCII)


class Source(NamedTuple):
    """A file of an earlier step, without which a step has nothing to do; ``rows``: without rows."""

    number: int
    ending: str
    rows: bool = False


@dataclass(frozen=True)
class Step:
    """A step: ``always`` it leaves these files, ``sometimes`` those; ``reads`` are step numbers.

    ``besides``: what no other step reads. ``may_be_empty``: an empty file is a result too.
    ``idle_without``: where that is not there the step rightly leaves nothing (dpam then says that
    it is complete, or that it failed).
    """

    number: int
    name: str
    folder: str
    reads: tuple[int, ...]
    always: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()
    may_be_empty: bool = False
    idle_without: Source | None = None
    data: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    seconds: float = 5.0
    cpus: int = 1
    memory_mb: int = 2000


STEPS = {
    step.number: step
    for step in (
        Step(1, "PREPARE", "step01_prepare", (), (".fa",)),
        Step(
            2, "HHSEARCH", "step02_hhsearch", (1,), (".hhsearch",),
            besides=(".a3m", ".a3m.ss", ".hmm"),
            data=("UniRef30_2023_02_cs219.ffdata|UniRef30_2022_02/UniRef30_2022_02_cs219.ffdata",
                  "pdb70_cs219.ffdata|pdb70/pdb70_cs219.ffdata"),
            tools=("hhblits", "hhmake", "hhsearch"), seconds=2700, cpus=4, memory_mb=8000,
        ),
        Step(
            3, "FOLDSEEK", "step03_foldseek", (1,), (".foldseek",), may_be_empty=True,
            data=("ECOD_foldseek_DB",), tools=("foldseek",), seconds=120, cpus=4, memory_mb=8000,
        ),
        Step(4, "FILTER_FOLDSEEK", "step04_filter", (1, 3), (".foldseek.flt.result",)),
        Step(5, "MAP_ECOD", "step05_map_ecod", (2,), (".map2ecod.result",)),
        Step(6, "DALI_CANDIDATES", "step06_candidates", (4, 5), ("_hits4Dali",),
             may_be_empty=True),
        Step(7, "ITERATIVE_DALI", "step07_dali", (1, 6), ("_iterativdDali_hits",),
             may_be_empty=True),
        Step(8, "ANALYZE_DALI", "step08_analyze", (7,), ("_good_hits",),
             data=("posi_weights/", "ecod_internal/"), seconds=10),
        Step(9, "GET_SUPPORT", "step09_support", (5, 8),
             ("_sequence.result", "_structure.result"), may_be_empty=True),
        Step(10, "FILTER_DOMAINS", "step10_filter_domains", (9,), (), (".goodDomains",)),
        Step(11, "SSE", "step11_sse", (1,), (".sse",), tools=("dsspcmbi|mkdssp",), seconds=15),
        Step(12, "DISORDER", "step12_disorder", (10, 11), (".diso",), may_be_empty=True,
             seconds=20),
        Step(13, "PARSE_DOMAINS", "step13_parse", (1, 10, 12), (".step13_domains",),
             may_be_empty=True, seconds=300),
        Step(15, "PREPARE_DOMASS", "step15_domass_features", (8, 10, 11, 13),
             (".step15_features",), idle_without=Source(10, ".goodDomains"),
             data=("ECOD_maps/",)),
        Step(16, "RUN_DOMASS", "step16_domass_predict", (15,), (".step16_predictions",),
             idle_without=Source(15, ".step15_features", rows=True),
             data=("domass_epo29.meta", "domass_epo29.index"), seconds=20),
        Step(17, "GET_CONFIDENT", "step17_confident", (16,), (),
             (".step17_confident_predictions",), idle_without=Source(16, ".step16_predictions")),
        Step(18, "GET_MAPPING", "step18_mapping", (5, 8, 17), (".step18_mappings",),
             idle_without=Source(17, ".step17_confident_predictions"), data=("ECOD_maps/",)),
        Step(19, "GET_MERGE_CANDIDATES", "step19_merge_candidates", (18,), (),
             (".step19_merge_candidates", ".step19_merge_info"),
             idle_without=Source(18, ".step18_mappings"), data=("posi_weights/",)),
        Step(20, "EXTRACT_DOMAINS", "step20_extract", (1, 19),
             idle_without=Source(19, ".step19_merge_candidates")),
        Step(21, "COMPARE_DOMAINS", "step21_compare", (13, 19, 20), (".step21_comparisons",),
             idle_without=Source(19, ".step19_merge_candidates")),
        Step(22, "MERGE_DOMAINS", "step22_merge", (21,), (), (".step22_merged_domains",),
             idle_without=Source(21, ".step21_comparisons")),
        Step(23, "GET_PREDICTIONS", "step23_predictions", (13, 16, 18, 22),
             (".step23_predictions",), idle_without=Source(18, ".step18_mappings"),
             data=("tgroup_length", "posi_weights/")),
        Step(24, "INTEGRATE_RESULTS", "step24_integrate", (11, 23), ("_domains",),
             idle_without=Source(23, ".step23_predictions", rows=True)),
    )
}  # fmt: skip

AT_EACH_START = ("ECOD_length", "ECOD_norms", "ECOD_pdbmap", "ecod.latest.domains")
"""What dpam reads whenever it starts, whatever the step; without one it ends with a traceback."""
GROUPS = (tuple(range(1, 7)), (7,), tuple(range(8, 14)), tuple(range(15, 25)))
"""Steps that share a job: dpam starts once for all of them, and they ask for alike resources.

1 to 6 go with hhblits, beside which the others are nothing; 8 to 13 want one processor; 15 to 24
wait for TensorFlow's start.
"""
STARTING = 3.0
"""Seconds of one start of dpam, which reads AT_EACH_START: 2.3 to 2.7 CPU seconds were measured for
an ecod.latest.domains of 168 MB and a million lines, and 400 MB of memory; 0.2 without."""
TYPICAL_RESIDUES = 500


@dataclass(frozen=True)
class Stage:
    """Steps that one job does, target by target; what a target of it is given.

    ``at_once``: targets at a time on a node; 0: as many as fit. ``command`` calls dpam.
    """

    numbers: tuple[int, ...]
    cpus: int = 1
    memory_mb: int = 0
    at_once: int = 0
    skip_addss: bool = False
    command: tuple[str, ...] = ("dpam",)

    @property
    def name(self) -> str:
        """As 8-13."""
        return spelled(self.numbers)

    @property
    def names(self) -> list[str]:
        """dpam's names of the steps."""
        return [STEPS[number].name for number in self.numbers]

    @property
    def record(self) -> str:
        """What records in journals call it."""
        return f"dpam {self.name}"

    def seconds(self, residues: int) -> float:
        """Predicted wall seconds of a target of so many residues."""
        work = sum(STEPS[number].seconds for number in self.numbers)
        return STARTING + work * residues / TYPICAL_RESIDUES


def parse(text: str) -> tuple[int, ...]:
    """The steps that ``all``, ``7``, ``7-13``, ``8-``, ``-6`` or a list with commas means."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        matched = RANGE.fullmatch(part)
        if part == "all":
            found.update(ALL)
            continue
        if not part or part == "-" or not matched:
            raise ConfigError(f"--steps {text!r}: {part!r} is no step", HINT)
        first, dash, last = matched.groups()
        if not dash:
            last = first = part
        begin, end = int(first or ALL[0]), int(last or ALL[-1])
        if begin > end or not {begin, end} <= set(ALL):
            raise ConfigError(f"--steps {text!r}: {part!r} names no steps of dpam's", HINT)
        found.update(number for number in ALL if begin <= number <= end)
    return tuple(sorted(found))


HINT = "all, a step as 7, a range as 7-13, 8- or -6, or several as 7,8; steps are 1-13 and 15-24"


def spelled(numbers: Sequence[int]) -> str:
    """Steps as ``parse`` reads them; 13 and 15 are neighbours."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and ALL.index(number) == ALL.index(parts[-1][-1]) + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def stages(numbers: Sequence[int]) -> list[Stage]:
    """The stages in which steps are done, with what each needs."""
    found = []
    for group in GROUPS:
        mine = tuple(number for number in group if number in numbers)
        if mine:
            steps = [STEPS[number] for number in mine]
            found.append(Stage(mine, max(s.cpus for s in steps), max(s.memory_mb for s in steps)))
    return found


def numbers_of(stage: Stage | None) -> tuple[int, ...]:
    """A stage's steps; None is step 7."""
    return stage.numbers if stage else (DALI,)


def stage_name(stage: Stage | None) -> str:
    """How a stage is called; None is step 7."""
    return stage.name if stage else str(DALI)
