"""Platform files: every error at once with its line; extensions."""

from __future__ import annotations

import pytest

from dpam_hpc.platforms import library
from dpam_hpc.platforms.toml_lines import key_lines
from tests.pure.platform_site import SMALLEST, Site

# -- errors ----------------------------------------------------------------------------------------


def test_every_error_is_told_at_once_with_its_line(site: Site) -> None:
    site.write(
        "bad",
        """\
        schema = 2
        name = "other"
        hostname = ["a"]
        default_partition = "norml"

        [scheduler]
        type = "slrum"
        max_jobs_queued = 3
        access = [
          "--partition={partitio}",  # a comment ]
          "-p\\nrm",
        ]
        requires = ["account", "acount"]
        memory = 1

        [partitions."normal"]
        max_runtime = "48:00"
        min_nodes = 3
        max_nodes = 2
        preemptmode = "off"

        [scratch]
        candidates = ["tmp"]
        min_free_gb = -1
        [container]
        """,
    )
    told = site.problems("bad")
    expected = [
        (1, "schema", "must be 1"),
        (1, "descr", "is missing"),
        (2, "name", "must be the file's own name, bad"),
        (3, "hostname", "did you mean hostnames?"),
        (4, "default_partition", "did you mean normal?"),
        (7, "scheduler.type", "did you mean slurm?"),
        (8, "scheduler.max_jobs_queued", "belongs in [partitions.NAME]"),
        (9, "scheduler.access", "{partitio} is not among"),
        (9, "scheduler.access", "one line"),
        (13, "scheduler.requires", "did you mean account?"),
        (13, "scheduler.requires", "no template of access has {account}"),
        (14, "scheduler.memory", "valid boolean"),
        (17, "partitions.normal.max_runtime", "48:00:00"),
        (18, "partitions.normal.min_nodes", "more than max_nodes"),
        (20, "partitions.normal.preemptmode", "did you mean preempt_mode?"),
        (23, "scratch.candidates", "absolute path"),
        (24, "scratch.min_free_gb", "greater than or equal to 0"),
    ]
    assert sorted((line, key) for _, line, key, _ in told) == sorted(row[:2] for row in expected)
    for line, key, text in expected:
        assert any(row[1:3] == (line, key) and text in row[3] for row in told), (line, key, text)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("schema = 1\nname =\n", 2, "is no TOML"),
        ("schema = 1\nname = 'x'\n[scheduler\n", 3, "is no TOML"),
        ('schema = 1\nx = """\nnever ended\n', 4, "is no TOML"),
    ],
)
def test_a_file_that_is_no_toml_has_its_line(site: Site, text: str, line: int, told: str) -> None:
    site.write("bad", text)
    ((_, found, _, what),) = site.problems("bad")
    assert found == line
    assert told in what


def test_bytes_that_are_no_text_have_their_line(site: Site) -> None:
    (site.folder / "bad.toml").write_bytes(b"schema = 1\nname = '\xff'\n")
    assert [row[1:] for row in site.problems("bad")] == [(2, "", "is not UTF-8")]


def test_an_empty_file_lacks_what_must_be_there(site: Site) -> None:
    site.write("bad", "")
    assert {row[2] for row in site.problems("bad")} == {"schema", "name", "descr", "scheduler"}


@pytest.mark.parametrize(
    "line",
    [
        'env_match = { "A B" = "x" }',
        "hostnames = 'a'",
        "hostnames = ['']",
        'clusters = ["a b"]',
        'architecture = "arm64"',
        'partitions = { "a;b" = {} }',
        'descr2 = "x"',
        "container = 3",
        "hostnames = [2026-01-01, 3]",
        "[[partitions]]",
    ],
)
def test_what_cannot_be_is_an_error_in_its_line(site: Site, line: str) -> None:
    site.add("bad", line)
    told = site.problems("bad")
    assert {row[1] for row in told if row[3] != "is missing"} == {4}


def test_lines_are_found_whatever_the_toml_looks_like() -> None:
    text = 'a = 1\r\n\r\n# b = 2\r\n"b".c = [\n 1, # ]\n]\n[ d . "e f" ]\nx = """\ny = 1\n"""\n'
    text += "z = { q = 1 }\n[[g]]\nh = 1\n"
    found = {".".join(path): line for path, line in key_lines(text).items()}
    expected = {"a": 1, "b": 4, "b.c": 4, "d": 7, "d.e f": 7, "d.e f.x": 8, "d.e f.z": 11}
    assert found == {**expected, "d.e f.z.q": 11, "g": 12, "g.h": 13}


def test_facts_of_source_may_be_quoted_or_not(site: Site) -> None:
    more = '[source]\n"scratch.candidates" = "a"\nscheduler.memory = "b"\n'
    site.write("one", SMALLEST.format(name="one", more="") + more)
    source = library.named("one", site.folders).source
    assert source == {"scratch.candidates": "a", "scheduler.memory": "b"}


# -- extends ---------------------------------------------------------------------------------------


def test_an_extension_is_laid_over_its_base(site: Site) -> None:
    site.write(
        "mine",
        """\
        schema = 1
        name = "mine"
        extends = "tacc-frontera"
        hostnames = ["x"]
        env_match = {}
        [partitions.small]
        max_nodes = 1
        [partitions.own]
        """,
    )
    mine, base = (library.named(name, site.folders) for name in ("mine", "tacc-frontera"))
    assert mine.hostnames == ("x",)
    assert mine.env_match == {}
    assert mine.descr == base.descr
    assert list(mine.partitions) == [*base.partitions, "own"]
    assert mine.partitions["small"].max_nodes == 1
    assert mine.partitions["small"].max_jobs_queued == 80
    assert mine.scheduler == base.scheduler


def test_a_file_may_amend_the_one_that_it_hides(site: Site) -> None:
    more = '[partitions.p]\ncpus_per_node = 16\n[source]\n"partitions" = "sinfo"\n'
    site.write("leda", f'schema = 1\nname = "leda"\nextends = "leda"\n{more}')
    leda = library.named("leda", site.folders)
    assert leda.partitions["p"].cpus_per_node == 16
    assert leda.scheduler.requires == ("partition",)
    assert leda.source["partitions"] == "sinfo"
    assert leda.extends is None
    assert library.where("leda", site.folders) == site.folder / "leda.toml"


def test_an_extension_has_a_name_of_its_own(site: Site) -> None:
    site.write("mine", 'schema = 1\nextends = "leda"\n')
    assert site.problems("mine") == [("mine.toml", 1, "name", "is missing")]


def test_errors_of_a_base_are_told_with_the_base_s_lines(site: Site) -> None:
    site.add("base", "hostnames = 3")
    site.write("mine", 'schema = 1\nname = "mine"\nextends = "base"\nurls = "x"\n')
    assert [row[:3] for row in site.problems("mine")] == [
        ("mine.toml", 4, "urls"),
        ("base.toml", 4, "hostnames"),
    ]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a": "b", "b": "a"}, "circle: a -> b -> a"),
        ({"a": "b", "b": "c", "c": "b"}, "circle: a -> b -> c -> b"),
        ({"a": "a"}, "no other platform 'a'"),
        ({"a": "led"}, "no platform 'led'; did you mean leda?"),
    ],
)
def test_what_cannot_be_extended_is_told_beside_other_errors(
    site: Site, files: dict[str, str], told: str
) -> None:
    for name, base in files.items():
        site.write(name, f'schema = 1\nname = "{name}"\nextends = "{base}"\nurls = "x"\n')
    problems = site.problems("a")
    assert any(row[2] == "extends" and row[1] == 3 and told in row[3] for row in problems)
    assert ("a.toml", 4, "urls") in [row[:3] for row in problems]
    assert "is missing" not in str(problems), "it might have come from the base"
