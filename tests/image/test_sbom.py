"""An image's bill of materials is SPDX, names all that is in it, and is the same each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from dpam_hpc import __version__
from dpam_hpc.image import recipe, sbom
from dpam_hpc.image.choice import contents as choice_contents
from tests.image.made_up import Kitchen

STATUS = [
    """Package: libstdc++6
Status: install ok installed
Version: 12.2.0-14+deb12u1
Architecture: arm64
Description: a library
 Version: of its description
 .
 Status: deinstall""",
    "Package: apt\nStatus: install ok installed\nVersion: 1:2.6~rc1\nArchitecture: all",
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all",
]
PYTHON = {
    "jinja2": "Name: Jinja2\nVersion: 3.1\nLicense-Expression: BSD-3-Clause\n",
    "zope_thing": "Name: zope.thing\nVersion: 1+local\nLicense: as the lawyers like\n",
    "bare": "Name: bare\nVersion: 0\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of an image, as far as it tells what is in it."""
    parts = recipe.read_sources().parts()
    choice = Kitchen(tmp_path / "recipe").choice(parts, architecture="aarch64")
    digests = {name: part.sha256 or "f" * 64 for name, part in parts.items()}
    root = tmp_path / "root"
    contents = root / sbom.CONTENTS
    contents.parent.mkdir(parents=True)
    contents.write_text(json.dumps(choice_contents(choice, digests, 1783728000)))
    write_status(root, STATUS)
    for name, text in PYTHON.items():
        folder = root / f"opt/venv/lib/python3.11/site-packages/{name}-1.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.4\n{text}\nWhat it is.\n")
    return root


def write_status(root: Path, stanzas: list[str]) -> None:
    path = root / "var/lib/dpkg/status"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(stanzas) + "\n\n")


def packages(root: Path) -> dict[str, dict[str, Any]]:
    return {package["SPDXID"]: package for package in sbom.describe(root)["packages"]}


def problems(document: dict[str, Any], folder: Path) -> list[str]:
    path = folder / "sbom.spdx.json"
    path.write_text(json.dumps(document))
    found = validate_full_spdx_document(parse_file(str(path)))
    return [message.validation_message for message in found]


def test_it_is_spdx(root: Path, tmp_path: Path) -> None:
    document = sbom.describe(root)
    assert problems(document, tmp_path) == []
    assert document["creationInfo"]["created"] == "2026-07-11T00:00:00Z"
    assert document["creationInfo"]["creators"] == [f"Tool: dpam-hpc-{__version__}"]
    document["packages"][0]["SPDXID"] = "not an id"
    assert problems(document, tmp_path) != [], "or the check checks nothing"


def test_all_of_an_image_is_in_it(root: Path) -> None:
    found = packages(root)
    assert {(key, package["versionInfo"]) for key, package in found.items()} == {
        ("SPDXRef-Debian-apt", "1:2.6~rc1"),
        ("SPDXRef-Debian-libstdc--6", "12.2.0-14+deb12u1"),
        ("SPDXRef-Part-dali", "5"),
        ("SPDXRef-Part-dpam", "2.0.0"),
        ("SPDXRef-Part-foldseek", "ffffffffffff"),
        ("SPDXRef-Python-Jinja2", "3.1"),
        ("SPDXRef-Python-bare", "0"),
        ("SPDXRef-Python-zope.thing", "1+local"),
    }
    relations = sbom.describe(root)["relationships"]
    assert {relation["relatedSpdxElement"] for relation in relations} == set(found)


def test_where_a_part_comes_from_and_what_it_forbids(root: Path) -> None:
    sources, found = recipe.read_sources(), packages(root)
    dali = found["SPDXRef-Part-dali"]
    assert dali["downloadLocation"] == sources.dali.homes[0]
    assert dali["checksums"] == [{"algorithm": "SHA256", "checksumValue": sources.dali.sha256}]
    assert "redistribution forbidden" in dali["comment"]
    dpam = found["SPDXRef-Part-dpam"]
    assert dpam["downloadLocation"] == f"git+{sources.dpam.homes[0]}@{sources.dpam.commit}"
    assert dpam["checksums"] == []
    assert found["SPDXRef-Part-foldseek"]["downloadLocation"] == "NOASSERTION"


def test_a_part_that_is_not_the_one_listed_has_no_home(root: Path) -> None:
    path = root / sbom.CONTENTS
    told = json.loads(path.read_text())
    told["parts"]["dali"] |= {"as_listed": False, "sha256": "0" * 64}
    path.write_text(json.dumps(told))
    dali = packages(root)["SPDXRef-Part-dali"]
    assert dali["downloadLocation"] == "NOASSERTION"
    assert dali["checksums"][0]["checksumValue"] == "0" * 64


def test_licences_are_told_where_they_are_known(root: Path) -> None:
    found = packages(root)
    told = {key: found[f"SPDXRef-Python-{key}"]["licenseDeclared"] for key in ("Jinja2", "bare")}
    assert told == {"Jinja2": "BSD-3-Clause", "bare": "NOASSERTION"}
    assert found["SPDXRef-Python-zope.thing"]["licenseDeclared"] == "NOASSERTION"


def test_an_image_without_parts(root: Path, tmp_path: Path) -> None:
    path = root / sbom.CONTENTS
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parts": {}}))
    document = sbom.describe(root)
    assert "hasExtractedLicensingInfos" not in document
    assert problems(document, tmp_path) == []


def test_it_is_the_same_each_time_and_another_for_each_change(root: Path) -> None:
    one = json.dumps(sbom.describe(root))
    write_status(root, STATUS[::-1])
    assert json.dumps(sbom.describe(root)) == one
    write_status(root, [STATUS[0].replace("u1", "u2"), *STATUS[1:]])
    two = sbom.describe(root)
    assert two["documentNamespace"] != json.loads(one)["documentNamespace"]
