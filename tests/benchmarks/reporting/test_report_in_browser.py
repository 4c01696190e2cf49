"""The page as a real browser shows it, on a telephone and on a desk, in light and in dark."""

from __future__ import annotations

import pytest

from benchmarks.measuring.aggregate import costs, pool
from benchmarks.reporting.report import write_report

FACTS = """() => ({
    width: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor,
    images: [...document.images].map(one => ({
        loaded: one.complete && one.naturalWidth > 0, source: one.currentSrc.slice(-400)})),
    scrolling: [...document.querySelectorAll('.scroll')]
        .filter(one => one.scrollWidth > one.clientWidth).length,
})"""


@pytest.fixture(scope="module")
def page_file(make_scores, tmp_path_factory):
    scores = [make_scores(k=4), make_scores(k=32)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("benchmarks.reporting.canvas.DPI", 30)
        provenance = {str(place): one.provenance for place, one in enumerate(scores)}
        folder = tmp_path_factory.mktemp("report")
        return write_report(pool(scores, "Two routes"), folder, costs(scores), provenance).html


def seen(browser, file, width, scheme):
    """What the page is like, and all that went wrong with it."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    wrong, asked = [], []
    page.on("console", lambda one: wrong.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda one: wrong.append(str(one)))
    page.on("requestfailed", lambda one: wrong.append(one.url))
    page.on("request", lambda one: asked.append(one.url))
    page.goto(file.as_uri())
    for closed in page.query_selector_all("summary"):
        closed.click()
    facts = page.evaluate(FACTS)
    page.close()
    facts["asked"] = [one for one in asked if not one.startswith("data:")]
    return facts, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wrong_and_nothing_sticks_out(browser, page_file, width, scheme):
    facts, wrong = seen(browser, page_file, width, scheme)
    assert not wrong
    assert facts["width"] <= width
    assert facts["asked"] == [page_file.as_uri()], "nothing else is fetched"
    assert len(facts["images"]) == 2 * 8 + 1
    assert all(one["loaded"] for one in facts["images"])
    assert facts["scrolling"] > 0 or width > 390, "wide tables scroll inside themselves"


def test_the_pictures_follow_the_scheme(browser, page_file):
    (light, _), (dark, _) = (seen(browser, page_file, 1280, scheme) for scheme in ("light", "dark"))
    assert light["background"] != dark["background"]
    for one, other in zip(light["images"], dark["images"], strict=True):
        assert one["source"] != other["source"]


def test_a_broken_page_is_noticed(browser, tmp_path):
    page = tmp_path / "broken.html"
    page.write_text(
        "<body><img src='gone.png'><div style='width: 900px'>wide</div>"
        "<script>console.error('said'); undefined_name()</script>"
    )
    facts, wrong = seen(browser, page, 390, "light")
    assert facts["width"] > 390
    assert not facts["images"][0]["loaded"]
    assert any("said" in one for one in wrong)
    assert any("undefined_name" in one for one in wrong)
    assert any(one.endswith("gone.png") for one in wrong)
