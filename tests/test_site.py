"""The documentation is built as a site without a warning. Its pages load nothing from a network, and can be
searched where they are opened from a folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADED = re.compile(
    r"<(?:script|img|iframe|link(?! rel=\"canonical\"))[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_command_has_a_page_with_its_example_and_options(site):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in project["entry-points"]["perser.commands"]:
        page = (site / "reference" / "commands" / f"{name}.html").read_text(encoding="utf-8")
        assert f'<h1 id="perser-{name}">perser {name}' in page
        assert page.count(f"usage: perser {name}") == 1
        assert "--config" in page


def test_the_home_page_is_the_readme_and_the_python_page_has_signatures(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="tutorials/own_recordings.html#real-voices"' in home
    assert 'src="one_listener.png"' in home
    assert "enroll" in (site / "reference" / "python.html").read_text(encoding="utf-8")


def test_no_page_loads_anything_from_a_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    assert [found for page in pages for found in LOADED.findall(page.read_text(encoding="utf-8"))] == []
    assert not list(site.rglob("*.py"))


@pytest.mark.parametrize("page", ["index.html", "tutorials/new_label.html", "reference/commands/enroll.html"])
def test_a_page_opened_from_a_folder_can_be_searched(site, page, browser):
    tab = browser.new_page()
    requested, problems = [], []
    tab.on("request", lambda request: requested.append(request.url))
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto((site / page).as_uri())
    query = tab.locator("[data-md-component=search-query]")
    query.focus()
    query.press_sequentially("sarcastic")
    tab.wait_for_selector(".md-search-result__link", state="attached", timeout=20_000)
    tab.close()
    assert problems == []
    assert [url for url in requested if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
