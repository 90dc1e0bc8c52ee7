"""What the benchmarks make of what they measured: agreement of hits, shares, made-up targets."""

from __future__ import annotations

import cpu
import extremes
import head_to_head
import pytest

from dpam_hpc.align import structure

FIRST = b">e1abA1_1\t12.0\t30\t90\t0\nrotation\t1\t0\t0\n5\t7\n"
SECOND = b">e1abA1_2\t3.0\t30\t60\t0\nrotation\t1\t0\t0\n6\t7\n"
OTHER = b">e2cdB1_1\t4.0\t30\t90\t0\nrotation\t1\t0\t0\n6\t9\n"


def test_equal_hits_agree() -> None:
    hits = {"P": FIRST + SECOND, "Q": OTHER}
    assert head_to_head.agreement(hits, hits) == head_to_head.Agreement(3, 3, 3, 0, 2)


def test_missing_changed_and_further_hits_are_told_apart() -> None:
    upstream = {"P": FIRST + SECOND, "Q": b""}
    other = {"P": FIRST.replace(b"12.0", b"12.1"), "Q": OTHER}
    agreed = head_to_head.agreement(upstream, other)
    assert agreed == head_to_head.Agreement(hits=2, found=1, identical=0, more=1, files=0)


def test_a_hit_of_another_target_is_not_found() -> None:
    agreed = head_to_head.agreement({"P": FIRST, "Q": b""}, {"P": b"", "Q": FIRST})
    assert (agreed.found, agreed.more) == (0, 1)


def test_outside_is_all_but_the_modes_of_serialcompare() -> None:
    parts = {"WOLF": 1.0, "DALICON": 6.0, "import": 2.0, "report": 0.5, "Python": 0.5}
    assert cpu.outside(parts) == pytest.approx(0.3)


def test_a_long_target_is_one_chain_of_copies_that_lie_apart() -> None:
    line = "ATOM      1  CA  ALA B   7       1.000   2.000   3.000  1.00 50.00           C"
    two = f"{line}\n{line.replace('B   7', 'B   9')}\nTER\n"
    pdb = extremes.chained(two, 5).encode()
    assert structure.check_query(pdb).residues == (1, 2, 3, 4, 5)
    places = [float(line[30:38]) for line in pdb.splitlines()]
    assert places == [1, 1, 151, 151, 301]
