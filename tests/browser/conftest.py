"""One headless Chromium for all tests of pages."""

import browser
import pytest


@pytest.fixture(scope="session")
def chromium():
    """A browser; without one the test skips."""
    if browser.found() is None:
        pytest.skip(f"needs Chromium: none of {', '.join(browser.NAMES)} is in PATH")
    with browser.Browser() as started:
        yield started
