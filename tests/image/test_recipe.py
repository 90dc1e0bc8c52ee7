"""The recipe and its one list of sources."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from dpam_hpc.errors import ConfigError
from dpam_hpc.image import recipe
from dpam_hpc.image.recipe import DALI_SCRIPT, DEBIAN_NAMES
from tests.image.made_up import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPE = (ROOT / "Apptainer.def").read_text()
BOUND = ("/tmp", "/var/tmp", "/root", "/home")
"""Folders of the building machine that Apptainer has in the build."""


def sections(name: str) -> list[str]:
    """The texts of a section, by stage."""
    found = re.split(r"^%", RECIPE, flags=re.MULTILINE)
    return [text.partition("\n")[2] for text in found if text.split()[0] == name]


def touched(post: str) -> list[str]:
    """Words of a script that are, hold or lie in a folder of the building machine."""
    lexer = shlex.shlex(post, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        name, equals, value = word.partition("=")
        words += value.split() if equals and name.isidentifier() else [word]
    return [word for word in words if _is_bound(word)]


def _is_bound(word: str) -> bool:
    if re.search(r"^~|\$\{?(HOME|TMPDIR|TMP)\b", word):
        return True
    if not word.startswith("/"):
        return False
    fixed, star, _ = word.partition("*")
    if star and any(folder.startswith(fixed) for folder in BOUND):
        return True
    path = os.path.normpath(fixed)
    return any(
        f"{folder}/".startswith(f"{path.rstrip('/')}/") or f"{path}/".startswith(f"{folder}/")
        for folder in BOUND
    )


def test_the_build_leaves_the_building_machine_alone() -> None:
    posts = sections("post")
    assert len(posts) == 2
    for post in posts:
        assert touched(post) == []
    assert sections("setup") == [], "it runs outside of the image, as the one who builds"


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("rm -rf /tmp/*", "/tmp/*"),
        ("rm -rf /tmp/x # a's", "/tmp/x"),
        ("cd /tmp; rm -rf *", "/tmp"),
        ("find /var -delete", "/var"),
        ("find / -xdev", "/"),
        ("rm -rf /*", "/*"),
        ("rm -rf /var/*", "/var/*"),
        ("rm -rf /usr/../tmp", "/usr/../tmp"),
        ('own="find /usr /home"', "/home"),
        ("rm -rf ~/.cache", "~/.cache"),
        ('rm -rf "${HOME}/.cache"', "${HOME}/.cache"),
        ("echo >$TMPDIR/x", "$TMPDIR/x"),
        ("cat x>/root/y", "/root/y"),
    ],
)
def test_what_would_touch_it_is_seen(command: str, word: str) -> None:
    assert touched(f"set -eu\n# isn't run: /tmp\n{command}\nrm -rf /var/log /tmpfiles\n") == [word]


def test_the_lists_of_packages_are_those_of_the_sources() -> None:
    debian = recipe.read_sources().debian
    build, image = (
        dict(re.findall(r"^ +(\w+)=(.*)$", text, re.MULTILINE)) for text in sections("arguments")
    )
    assert build["BUILD_PACKAGES"].split() == list(debian.build)
    assert build["PACKAGES"].split() == [*debian.base, *debian.dpam]
    assert image.items() <= build.items()
    used = set(re.findall(r"{{ (\w+) }}", RECIPE))
    assert used == set(build), "an argument without a use, or the other way round"
    assert re.findall(r"^OSVersion: (.*)$", RECIPE, re.MULTILINE) == [debian.suite] * 2


def test_addresses_are_in_the_one_list_alone() -> None:
    homes = [home for part in recipe.read_sources().parts().values() for home in part.homes]
    assert homes
    listed = ROOT / "containers" / "sources.toml"
    files = [
        ROOT / "Apptainer.def",
        *(ROOT / "containers").rglob("*"),
        *(ROOT / "dpam_hpc").rglob("*"),
    ]
    for path in files:
        if path.is_file() and path != listed and "__pycache__" not in path.parts:
            text = path.read_bytes()
            assert [home for home in homes if home.encode() in text] == [], path
    for path in (ROOT / "Apptainer.def", *(ROOT / "containers").glob("*.lock")):
        assert re.findall(r"https?://\S+", path.read_text()) == [], path
    for home in homes:
        assert listed.read_text().count(home) == 1


def test_the_shipped_sources() -> None:
    sources = recipe.read_sources()
    for name, part in sources.parts().items():
        if part.homes:
            assert re.fullmatch("[0-9a-f]{64}", part.sha256), name
        assert bool(part.commit) == (part.kind == "git"), name
        assert "/" not in part.name
        assert part.licence
        assert part.redistribution.split(":")[0] in ("allowed", "forbidden")
    assert set(sources.python.leave_out) == set(DEBIAN_NAMES)
    python = set(sources.python.leave_out["x86_64"]) | set(sources.python.leave_out["aarch64"])
    locked = (ROOT / sources.python.dpam).read_text()
    assert all(f"\n{name}==" in f"\n{locked}" for name in python)


def broken(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = (ROOT / "containers" / "sources.toml").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "sources.toml").write_text(text)
    return tmp_path


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    folder = broken(
        tmp_path,
        ("schema = 1", "schema = 2"),
        ("epoch = 1783728000", 'epoch = "today"'),
        ('kind = "git"', 'kind = "svn"'),
        ('name = "foldseek"', 'nam = "foldseek"'),
        ('suite = "bookworm"', ""),
        ('x86_64 = ["tensorflow"]', "x86_64 = 7"),
    )
    with pytest.raises(ConfigError) as caught:
        recipe.read_sources(folder)
    told = [line.strip().split(":")[0] for line in caught.value.what.splitlines()[1:]]
    expected = {"schema", "epoch", "dpam.kind", "foldseek.name", "foldseek.nam", "debian.suite",
                "python.leave_out.x86_64"}  # fmt: skip
    assert set(told) == expected


def test_sources_that_are_no_toml_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sources\.toml cannot be read: No such file"):
        recipe.read_sources(tmp_path)
    folder = broken(tmp_path, ("schema = 1", "schema ="))
    with pytest.raises(ConfigError, match=r"sources\.toml: .*line"):
        recipe.read_sources(folder)


def needed() -> set[str]:
    """Files that a build reads, from the recipe's folder."""
    python = recipe.read_sources(ROOT).python
    locks = {f"containers/debian-{name}.lock" for name in DEBIAN_NAMES.values()}
    return {
        "Apptainer.def",
        "containers/sources.toml",
        str(DALI_SCRIPT),
        python.base,
        python.dpam,
        *locks,
    }


def test_the_wheel_has_all_of_the_recipe() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for name in needed():
        assert (ROOT / name).is_file()
        assert included.get(name) == f"dpam_hpc/recipe/{name}"


def test_an_installed_recipe_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "dpam_hpc"
    monkeypatch.setattr(recipe, "__file__", str(package / "image" / "recipe.py"))
    assert recipe.folder() == tmp_path
    for name in needed():
        (package / "recipe" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, package / "recipe" / name)
    assert recipe.folder() == package / "recipe"
    assert recipe.read_sources().dali.kind == "file"
