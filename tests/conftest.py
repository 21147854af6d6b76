"""Property tests are the same at each run and take the time they need: a slow machine makes no test fail."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# Two test processes, and the processes that tests start, share the CPUs: threads of OpenMP that wait for each other in
# busy loops would take them away from those that work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("aura", deadline=None, derandomize=True)
settings.load_profile("aura")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Output that is no valid text, as some tests give it on purpose, cannot travel between the test processes."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start a cluster come first: they take the longest, and the others fill the gaps."""
    slow = {item.path for item in items if item.get_closest_marker("cluster")}
    items.sort(key=lambda item: item.path not in slow)
