"""What is in an image, as SPDX 2.3: parts, Debian's packages, Python packages."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from dpam_hpc.image.recipe import DEBIAN_NAMES

CONTENTS = "opt/dpam-hpc/contents.json"
UNKNOWN = "NOASSERTION"
SPDX_IDS = frozenset(
    {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "PSF-2.0", "Zlib"}
)


def contents(root: Path) -> dict[str, Any]:
    """What the image says of itself; see ``choice.contents``."""
    found: dict[str, Any] = json.loads((root / CONTENTS).read_text())
    return found


def describe(root: Path) -> dict[str, Any]:
    """The SPDX document of an image's root."""
    own = contents(root)
    packages = [*_parts(own), *_debian(root, own), *_python(root)]
    packages.sort(key=lambda package: str(package["SPDXID"]))
    listed = json.dumps(packages, sort_keys=True).encode()
    name = f"dpam-hpc-image-{own['dpam_hpc']}-{own['architecture']}"
    texts = {
        "LicenseRef-DSSP-1994": "DSSP, W. Kabsch and C. Sander: src/dsspcmbi/COPYRIGHT of"
        " DaliLite.v5; academic use, no redistribution.",
        "LicenseRef-u3b": "src/u3b-8.f of DaliLite.v5, W. Kabsch: no redistribution.",
    }
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:sha256:{hashlib.sha256(listed).hexdigest()}:{name}",
        "creationInfo": {
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(own["epoch"])),
            "creators": [f"Tool: dpam-hpc-{own['dpam_hpc']}"],
        },
        "packages": packages,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            }
            for package in packages
        ],
    }
    if "dali" in own["parts"]:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": key, "extractedText": text} for key, text in texts.items()
        ]
    return document


def _package(kind: str, name: str, version: str, **more: Any) -> dict[str, Any]:
    return {
        "SPDXID": f"SPDXRef-{kind}-{re.sub('[^A-Za-z0-9.-]', '-', name)}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        **more,
    }


def _parts(own: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, part in own["parts"].items():
        homes = part["homes"]
        location = homes[0] if homes else UNKNOWN
        if part["commit"]:
            location = f"git+{location}@{part['commit']}"
        # Of a git source the checksum is over its contents, which SPDX has no word for.
        checksum = (
            [] if part["commit"] else [{"algorithm": "SHA256", "checksumValue": part["sha256"]}]
        )
        yield _package(
            "Part",
            name,
            part["version"] or part["sha256"][:12],
            downloadLocation=location if part["as_listed"] else UNKNOWN,
            licenseDeclared=part["licence"],
            checksums=checksum,
            comment=f"redistribution {part['redistribution']}; contents SHA-256 {part['sha256']}",
        )


def _debian(root: Path, own: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Debian's packages, from what dpkg has noted."""
    for stanza in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[A-Z][\w-]*: ", line)
        )
        if "installed" not in fields.get("Status", "").split():
            continue
        name, version = fields["Package"], fields["Version"]
        arch = fields.get("Architecture", DEBIAN_NAMES[own["architecture"]])
        yield _package(
            "Debian",
            name,
            version,
            supplier="Organization: Debian",
            comment=f"licence: /usr/share/doc/{name}/copyright in the image",
            externalRefs=[_purl(f"pkg:deb/debian/{name}@{version}?arch={arch}")],
        )


def _python(root: Path) -> Iterator[dict[str, Any]]:
    for folder in sorted((root / "opt/venv/lib").glob("python3*/site-packages")):
        for found in metadata.distributions(path=[str(folder)]):
            name, version = found.metadata["Name"], found.version
            told = found.metadata.json
            licence = told.get("license_expression") or told.get("license") or ""
            yield _package(
                "Python",
                name,
                version,
                licenseDeclared=licence if licence in SPDX_IDS else UNKNOWN,
                externalRefs=[_purl(f"pkg:pypi/{name.lower()}@{version}")],
            )


def _purl(locator: str) -> dict[str, str]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": locator,
    }
