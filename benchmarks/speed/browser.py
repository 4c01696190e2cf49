"""A browser that is installed here, to be driven by playwright."""

from __future__ import annotations

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Its program; None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)
