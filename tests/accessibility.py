"""Look for mistakes that keep people with a screen reader or a keyboard from using a page, with axe-core.

The package `axe-playwright-python` holds axe-core, so that nothing is fetched when the tests run.
"""

from __future__ import annotations

from typing import Any

import pytest


def accessibility_findings(page: Any, least: tuple[str, ...] = ("critical", "serious")) -> list[str]:
    """Return a line for each finding of these impacts on a page (playwright's `Page`)."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing"
    )
    violations = axe.Axe().run(page).response["violations"]
    return [
        f"{found['impact']} {found['id']}: {node['html'][:200]}"
        for found in violations
        if found["impact"] in least
        for node in found["nodes"]
    ]
