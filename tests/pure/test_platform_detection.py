"""Which platform this is: each rule, ambiguity, none; what SLURM answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dpam_hpc.errors import ConfigError
from dpam_hpc.platforms import library
from dpam_hpc.platforms.detect import SlurmAnswer, ask_slurm, cluster_name
from tests.pure.platform_site import Site

# -- detection -------------------------------------------------------------------------------------


HERE = SlurmAnswer(True, "c1")
NO_SLURM = SlurmAnswer(False, problem="scontrol is not on PATH")


@pytest.mark.parametrize(
    ("env", "hostname", "answer", "platform", "rule"),
    [
        ({"TACC_SYSTEM": "ls6"}, "h", None, "tacc-ls6", "env_match"),
        ({"TACC_SYSTEM": "vista"}, "x.ls6.tacc.utexas.edu", None, "tacc-vista", "env_match"),
        ({}, "login1.frontera.tacc.utexas.edu", None, "tacc-frontera", "hostnames"),
        ({}, "C123-456.Stampede3.tacc.utexas.edu", None, "tacc-stampede3", "hostnames"),
        ({"TACC_SYSTEM": "ls5"}, "h", HERE, "generic", ""),
        ({"S": "x1"}, "h", HERE, "one", "clusters"),
        ({"S": "x1", "T": "2"}, "h", None, "one", "env_match"),
        ({"S": "y1", "T": "2"}, "cn7.example.edu", None, "one", "hostnames"),
        ({}, "cn7", None, "one", "hostnames"),
        ({}, "cn77", HERE, "one", "clusters"),
        ({}, "h", SlurmAnswer(True, "c2"), "generic", ""),
        ({}, "h", SlurmAnswer(True, problem="over its time"), "generic", ""),
        ({}, "nothorizon.tacc.utexas.edu", NO_SLURM, "local", ""),
    ],
)
def test_rules_are_tried_in_order(
    site: Site,
    env: dict[str, str],
    hostname: str,
    answer: SlurmAnswer | None,
    platform: str,
    rule: str,
) -> None:
    if platform == "one":
        more = 'env_match = { S = "x*", T = "*" }\nhostnames = ["cn[0-9]"]\nclusters = ["c1"]'
        site.add("one", more)
    found = site.detect(env, hostname, answer)
    assert (found.platform.name, found.rule) == (platform, rule)
    assert found.reason
    assert [verdict.name for verdict in found.verdicts] == library.names(site.folders)
    for verdict in found.verdicts:
        assert (verdict.rule == rule) == (verdict.name == platform) or not rule
        assert verdict.why


def test_where_none_matches_it_is_said_why(site: Site) -> None:
    site.add("one", 'env_match = { S = "x", T = "*" }\nhostnames = ["a"]\nclusters = ["c9"]')
    found = site.detect({"S": "y"}, "h", HERE)
    assert found.reason == "no platform matches, and SLURM is here (ClusterName c1)"
    whys = {verdict.name: verdict.why for verdict in found.verdicts}
    assert whys["one"] == "S is y, not x; T is not set; host h is not a; ClusterName is c1, not c9"
    assert whys["leda"] == "it has no rule"
    problem = site.detect(answer=SlurmAnswer(True, problem="scontrol ran over")).verdicts
    assert "ClusterName is not known: scontrol ran over" in str(problem)
    local = site.detect(answer=NO_SLURM)
    assert local.reason == "no platform matches, and there is no SLURM (scontrol is not on PATH)"


@pytest.mark.parametrize(
    ("more", "env", "hostname", "answer"),
    [
        ('env_match = { S = "x" }', {"S": "x"}, "h", None),
        ('hostnames = ["h"]', {}, "h", None),
        ('clusters = ["c1"]', {}, "h", HERE),
    ],
)
def test_two_that_match_by_the_same_rule_are_an_error_that_names_both(
    site: Site, more: str, env: dict[str, str], hostname: str, answer: SlurmAnswer | None
) -> None:
    site.add("one", more)
    site.add("two", more)
    with pytest.raises(ConfigError, match=r"2 platforms match by .*one \(.*; two \(") as caught:
        site.detect(env, hostname, answer)
    assert "--platform" in caught.value.hint


def test_a_stronger_rule_of_one_beats_a_weaker_one_of_another(site: Site) -> None:
    site.add("one", 'hostnames = ["h"]')
    site.add("two", 'env_match = { S = "x" }\nclusters = ["c1"]')
    found = site.detect({"S": "x"}, "h")
    assert found.platform.name == "two"
    assert {v.name: v.rule for v in found.verdicts if v.rule} == {
        "one": "hostnames",
        "two": "env_match",
    }
    assert "SLURM was not asked" in str(site.detect({}, "h").verdicts)


def test_an_extension_wins_over_its_base_even_over_two_steps(site: Site) -> None:
    site.write("mine", 'schema = 1\nname = "mine"\nextends = "tacc-ls6"\n')
    site.write("ours", 'schema = 1\nname = "ours"\nextends = "mine"\n')
    found = site.detect({"TACC_SYSTEM": "ls6"})
    assert found.platform.name == "ours"
    assert "it extends mine, tacc-ls6" in found.reason
    site.write("yours", 'schema = 1\nname = "yours"\nextends = "mine"\n')
    with pytest.raises(ConfigError, match=r"2 platforms match by env_match: ours .*; yours "):
        site.detect({"TACC_SYSTEM": "ls6"})


# -- SLURM's answer --------------------------------------------------------------------------------


def _scontrol(folder: Path, script: str) -> dict[str, str]:
    program = folder / "scontrol"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin", "SLURM_CLUSTERS": "far"}


def test_slurm_is_asked_for_its_cluster(tmp_path: Path) -> None:
    script = '[ "$*${SLURM_CLUSTERS}" = "show config" ] && echo "ClusterName             = c1"'
    assert ask_slurm(_scontrol(tmp_path, script)) == SlurmAnswer(True, "c1")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'no controller' >&2; exit 1", "scontrol: exit status 1, no controller"),
        ("echo nothing", "scontrol names no cluster"),
        ("exec sleep 60", "scontrol ran over its time limit of 1 s"),
    ],
)
def test_a_slurm_that_does_not_answer_is_there_all_the_same(
    tmp_path: Path, script: str, problem: str
) -> None:
    answer = ask_slurm(_scontrol(tmp_path, script), time_limit=1)
    assert answer == SlurmAnswer(True, "", problem)


def test_without_scontrol_there_is_no_slurm(tmp_path: Path) -> None:
    assert ask_slurm({"PATH": str(tmp_path)}) == NO_SLURM


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A = 1\nClusterName             = leda\nB = 2", "leda"),
        ("ClusterName = (null)", ""),
        ("NotClusterName = x", ""),
        ("", ""),
    ],
)
def test_the_cluster_s_name_is_read(text: str, name: str) -> None:
    assert cluster_name(text) == name
