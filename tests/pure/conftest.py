"""What tests of platforms need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pure.platform_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder with platform files."""
    return Site(tmp_path)
