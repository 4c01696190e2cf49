"""The page in a real browser: as wide as a telephone and a desktop, in light and in dark."""

from __future__ import annotations

import pytest

from benchmarks.measuring.aggregate import aggregate_costs, aggregate_results
from benchmarks.reporting import canvas
from benchmarks.reporting.report import write_report

FACTS = """() => ({
    width: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor,
    images: [...document.images].map(image => ({
        loaded: image.complete && image.naturalWidth > 0, source: image.currentSrc.slice(-400)})),
    scrolling: [...document.querySelectorAll('.scroll')]
        .filter(element => element.scrollWidth > element.clientWidth).length,
})"""


@pytest.fixture(scope="module")
def page_file(make_scores, tmp_path_factory):
    scores = [make_scores(k=4), make_scores(k=32)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(canvas, "DPI", 30)
        provenance = {str(place): part.provenance for place, part in enumerate(scores)}
        folder = tmp_path_factory.mktemp("report")
        return write_report(
            aggregate_results(scores, "Two routes"), folder, aggregate_costs(scores), provenance
        ).html


def open_page(browser, file, width, scheme):
    """Facts about the page, and all errors that it caused."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    for closed in page.query_selector_all("summary"):
        closed.click()
    facts = page.evaluate(FACTS)
    page.close()
    facts["requests"] = [url for url in requests if not url.startswith("data:")]
    return facts, errors


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_has_no_errors_and_fits_its_window(browser, page_file, width, scheme):
    facts, errors = open_page(browser, page_file, width, scheme)
    assert not errors
    assert facts["width"] <= width
    assert facts["requests"] == [page_file.as_uri()], "nothing else is fetched"
    assert len(facts["images"]) == 2 * 8 + 1
    assert all(image["loaded"] for image in facts["images"])
    assert facts["scrolling"] > 0 or width > 390, "wide tables scroll inside themselves"


def test_the_plots_follow_the_color_scheme(browser, page_file):
    (light, _), (dark, _) = (open_page(browser, page_file, 1280, scheme) for scheme in ("light", "dark"))
    assert light["background"] != dark["background"]
    for image, other in zip(light["images"], dark["images"], strict=True):
        assert image["source"] != other["source"]


def test_errors_of_a_broken_page_are_found(browser, tmp_path):
    page = tmp_path / "broken.html"
    page.write_text(
        "<body><img src='gone.png'><div style='width: 900px'>wide</div>"
        "<script>console.error('said'); undefined_name()</script>"
    )
    facts, errors = open_page(browser, page, 390, "light")
    assert facts["width"] > 390
    assert not facts["images"][0]["loaded"]
    assert any("said" in error for error in errors)
    assert any("undefined_name" in error for error in errors)
    assert any(error.endswith("gone.png") for error in errors)
