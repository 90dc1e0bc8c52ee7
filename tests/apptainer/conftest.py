"""Images are begun when the tests are, and needed last: they are built meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.apptainer import images
from tests.apptainer.images import Builds, Images

BUILDS = pytest.StashKey[Builds]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need an image come last."""
    needy = [item for item in items if "built" in getattr(item, "fixturenames", ())]
    rest = [item for item in items if item not in set(needy)]
    items[:] = rest + needy
    if needy and not config.option.collectonly and not images.why_none():
        config.stash[BUILDS] = Builds()


def pytest_unconfigure(config: pytest.Config) -> None:
    if BUILDS in config.stash:
        config.stash[BUILDS].stop()


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> Iterator[Images]:
    """Two images of this commit with a stand-in for DALI; skipped where there can be none."""
    if why := images.why_none():
        pytest.skip(why)
    yield pytestconfig.stash[BUILDS].result()
