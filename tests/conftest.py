"""Property tests are the same at each run and take the time they need: a slow machine makes no test fail."""

from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("aura", deadline=None, derandomize=True)
settings.load_profile("aura")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Output that is no valid text, as some tests give it on purpose, cannot travel between the test processes."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
