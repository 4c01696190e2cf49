"""The page in a real browser: as wide as a telephone and a desktop, in light and in dark."""

from __future__ import annotations

import pytest

from benchmarks.measuring.aggregate import aggregate_costs, aggregate_results
from benchmarks.reporting import canvas
from benchmarks.reporting.report import write_report
from tests.accessibility import accessibility_findings

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


def open_page(browser, file, width, scheme, shots=None):
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
    if shots:
        page.screenshot(path=shots / f"report-{scheme}-{width}.png", full_page=True)
    page.close()
    facts["requests"] = [url for url in requests if not url.startswith("data:")]
    return facts, errors


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_the_page_has_no_errors_and_fits_its_window(browser, page_file, width, scheme, shots):
    facts, errors = open_page(browser, page_file, width, scheme, shots)
    assert not errors
    assert facts["width"] <= width
    assert facts["requests"] == [page_file.as_uri()], "nothing else is fetched"
    assert len(facts["images"]) == 2 * 8 + 1
    assert all(image["loaded"] for image in facts["images"])
    assert facts["scrolling"] > 0 or width > 390, "wide tables scroll inside themselves"


@pytest.fixture
def page(browser, page_file):
    """The page of a report, opened on a desktop."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.goto(page_file.as_uri())
    yield opened
    opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_core_finds_nothing(browser, page_file, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(page_file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert accessibility_findings(page, ("critical", "serious", "moderate", "minor")) == []
    page.close()


def column(table, place):
    """The first line of each cell of a column."""
    cells = table.locator(f"tbody tr > :nth-child({place + 1})").all_inner_texts()
    return [text.split("\n")[0].strip() for text in cells]


def test_a_column_is_sorted_by_a_press_on_its_heading(page):
    table = page.locator("table").filter(has_text="Bal. acc.").first
    before = column(table, 0)
    heads = table.locator("thead th")
    place = heads.all_inner_texts().index("maF1")
    heads.nth(place).get_by_role("button").click()
    assert heads.nth(place).get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in column(table, place)]
    assert values == sorted(values)
    assert sorted(column(table, 0)) == sorted(before)
    assert column(table, 0) != before
    heads.nth(place).get_by_role("button").press("Enter")
    values = [float(text) for text in column(table, place)]
    assert values == sorted(values, reverse=True)
    assert table.locator("[aria-sort]").count() == 1
    heads.nth(0).get_by_role("button").click()
    assert column(table, 0) == sorted(before)


def test_times_are_sorted_by_how_long_they_are(page):
    table = page.locator("table").filter(has_text="Bal. acc.").first
    heads = table.locator("thead th")
    place = heads.all_inner_texts().index("To personalize")
    heads.nth(place).get_by_role("button").click()
    times = column(table, place)
    assert times[-1] == "2.2 s"
    assert times.index("4 ms") < times.index("44 ms") < times.index("45 ms") < times.index("2.2 s")


def test_a_heading_and_a_dot_say_what_they_are(page):
    tip = page.locator("#tip")
    assert tip.is_hidden()
    page.get_by_role("button", name="Bal. acc.").first.focus()
    assert "balanced accuracy" in tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    dot = page.locator(".dot").first
    dot.hover(force=True)
    assert "listener-" in tip.inner_text()
    assert "points" in tip.inner_text()


def test_the_page_begins_with_the_picture_then_the_verdict_then_the_tables(page):
    tops = [page.locator(name).first.bounding_box()["y"] for name in (".gains", ".verdict", ".scroll")]
    assert tops == sorted(tops)
    assert page.locator(".gains").first.locator("li").count() == 6
    assert "listeners gain" in page.locator(".gains").first.inner_text()
    assert page.locator(".gains").count() == 2, "one for each K"


def test_a_method_is_explained_where_its_name_stands(page):
    row = page.locator("tr").filter(has_text="speech-lm-8").first
    row.get_by_text("What it does").click()
    assert "as examples in its prompt. Here, it reads 8 labeled clips." in row.inner_text()


def test_the_page_is_printed_dark_on_white(browser, page_file):
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page.goto(page_file.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(31, 35, 40)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.close()


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
