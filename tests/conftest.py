"""What every test shares: shapes in signatures are checked while tests run, and property tests repeat themselves."""

from __future__ import annotations

import gc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import config, install_import_hook

# Before the first import of the package: the hook rewrites modules while they are imported.
install_import_hook(["lit_adaptconv.functional", "lit_adaptconv.layers"], "beartype.beartype")

# The same examples each time, so that a failure can be repeated; tests marked slow search at random.
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("repeatable")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Run without the shape checks: TorchDynamo cannot trace them, and they forestall the package's own errors."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.hookimpl(tryfirst=True)  # before slow ones are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test that is `sampled`, about one in so many cases is run by default, and the others with the slow tests.

    Which they are follows from their names alone: a case is slow or not, whatever else is there.
    """
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled and zlib.crc32(item.nodeid.encode()) % sampled.args[0]:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Keep what has been imported and collected out of the garbage collector's rounds."""
    gc.collect()
    gc.freeze()
