"""The report says what the results give, in Markdown, HTML and the terminal, and nothing more."""

import base64
import re
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from benchmarks.measuring.aggregate import aggregate_costs, aggregate_results
from benchmarks.reporting import canvas
from benchmarks.reporting import comparisons as comparisons_module
from benchmarks.reporting.comparisons import make_comparisons, overall_verdicts
from benchmarks.reporting.formats import DASH
from benchmarks.reporting.report import print_tables, write_report
from benchmarks.reporting.verdict import verdict

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def coarse_plots(monkeypatch):
    """Small pictures: most of a report's time goes into them."""
    monkeypatch.setattr(canvas, "DPI", 30)


def score(mean, half=0.02):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def row(method, route, ma_f1, **changed):
    return {
        "method": method,
        "route": route,
        "corpus": "iemocap",
        "scenario": "unseen",
        "person_axis": "listener",
        "k": 32,
        "episodes": 50,
        "persons": 10,
        "metrics": {"maF1": score(ma_f1), "label_accuracy": score(0.8), "brier": score(0.7123)},
        "seconds_personalize": 2.5,
        "seconds_predict": 0.25,
    } | changed


def difference(a, b, mean, **changed):
    pair = {"a": a, "b": b, "scenario": "unseen", "k": 32, "metric": "maF1"}
    return pair | score(mean) | changed


@pytest.fixture
def results():
    rows = [
        row("random", "trivial", 0.154, seconds_personalize=0.0),
        row("meta-perser", "meta-perser", 0.307),
        *(row(f"speech-lm-{n}", "speech-lm", 0.2 + n / 100) for n in (0, 4, 8)),
    ]
    meta = {
        "title": "Two routes",
        "simulated": True,
        "notes": ["Listeners are drawn by chance."],
        "command": "perser bench",
        "versions": {"torch": "2.11.0"},
        "seconds": 75.0,
    }
    return {"meta": meta, "rows": rows, "differences": [difference("meta-perser", "speech-lm-8", 0.027)]}


class Page(HTMLParser):
    """What a browser would fetch, and whether every tag is closed in order."""

    def __init__(self, html):
        super().__init__()
        self.fetched, self.open, self.tables_outside = [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.fetched += [values[name] for name in ("src", "srcset", "href") if name in values]
        if tag == "table":
            self.tables_outside += ("div", "scroll") not in self.open
        if tag not in ("meta", "img", "source", "link"):
            self.open.append((tag, values.get("class")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag


def test_the_report_has_pages_plots_and_tables(results, tmp_path):
    paths = write_report(results, tmp_path / "new")
    assert paths.markdown.parent == paths.html.parent == tmp_path / "new"
    assert sorted(paths.plots) == sorted((tmp_path / "new" / "plots").iterdir())
    assert all(path.read_bytes().startswith(PNG) for path in paths.plots)
    endings = [path.stem.removeprefix("iemocap-unseen-listener-k32-") for path in paths.plots]
    assert endings == ["macro-f1", "differences", "enrollment", "time"]
    assert paths.tables == [tmp_path / "new" / "tables" / "iemocap-unseen-listener-k32.tex"]
    assert paths.tables == list((tmp_path / "new" / "tables").iterdir())
    images = re.findall(r"!\[.*?\]\((.*?)\)", paths.markdown.read_text())
    assert [tmp_path / "new" / image for image in images] == paths.plots


def test_the_page_fetches_nothing_and_its_tables_scroll(results, tmp_path):
    page = Page(write_report(results, tmp_path).html.read_text())
    assert not page.open
    assert not page.tables_outside
    assert len(page.fetched) == 8  # four plots, light and dark
    for source in page.fetched:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(PNG)


def test_both_pages_begin_with_the_verdict(results, tmp_path):
    paths = write_report(results, tmp_path)
    for text in (paths.markdown.read_text(), paths.html.read_text()):
        assert text.index("Simulated data") < text.index("has the highest macro-F1") < text.index("30.7")
        assert "Listeners are drawn by chance." in text
        for shown in (
            f"(28.7{DASH}32.7)",
            "0.712",
            "2.5 s",
            "250 ms",
            "+2.7 (+0.7 to +4.7)",
            "torch 2.11.0",
            "75.0 s",
        ):
            assert shown in text


def test_real_data_is_not_called_simulated(results, tmp_path):
    results["meta"]["simulated"] = False
    paths = write_report(results, tmp_path)
    assert "Simulated data" not in paths.markdown.read_text() + paths.html.read_text()


def test_the_same_results_give_the_same_files(results, tmp_path):
    first, second = (write_report(results, tmp_path / name) for name in ("a", "b"))
    assert first.html.read_bytes() == second.html.read_bytes()


def test_settings_are_never_ranked_against_each_other(results, tmp_path):
    others = [{"k": 8}, {"corpus": "cremad"}, {"scenario": "seen"}, {"person_axis": "speaker"}]
    results["rows"] += [row("entire-few", "meta-perser", 0.9, **other) for other in others]
    found = make_comparisons(results)
    assert [len(comparison.rows) for comparison in found] == [1, 1, 1, 5, 1]
    assert sum("entire-few" in comparison.verdict for comparison in found) == 4
    files = [comparison.plot_file(plot) for comparison in found for plot in comparison.plots]
    assert len(set(files)) == len(files)
    results["rows"] = [row("m", "mine", 0.1, seconds_personalize=None, k=k) for k in (8, 32)]
    page = write_report(results, tmp_path).html.read_text()
    assert (page.count('class="verdict single"'), page.count('class="verdict"')) == (2, 1)


def test_a_difference_belongs_to_the_corpus_that_it_names(results):
    results["rows"].append(row("meta-perser", "meta-perser", 0.3, corpus="cremad"))
    results["differences"] = [difference("meta-perser", "random", 0.1, corpus="cremad")]
    counts = {comparison.corpus: len(comparison.differences) for comparison in make_comparisons(results)}
    assert counts == {"cremad": 1, "iemocap": 0}


def test_trivial_rows_stand_last_and_muted(results, tmp_path):
    results["rows"].append(row("most-frequent", "trivial", 0.99))
    methods = [row["method"] for row in make_comparisons(results)[0].rows]
    assert methods == ["meta-perser", "speech-lm-8", "speech-lm-4", "speech-lm-0", "most-frequent", "random"]
    assert write_report(results, tmp_path).html.read_text().count('<tr class="trivial">') == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"differences": []},
        {"rows": []},
        {"rows": [row("random", "trivial", 0.1)]},
        {
            "rows": [
                row("bare", "mine", 0.1, metrics={}),
                row("odd", "mine", 0.1, metrics={"new": {"mean": 0.5}}),
            ]
        },
        {"rows": [row("broken", "mine", float("nan"), seconds_personalize=None)]},
        {"rows": [row("point", "mine", 0.1, metrics={"maF1": {"mean": 0.1}})]},
        {"meta": {}},
    ],
)
def test_missing_values_are_left_out(results, changed, tmp_path):
    results |= changed
    assert "nan" not in write_report(results, tmp_path).markdown.read_text().lower()
    print_tables(results, Console(file=StringIO()))


def test_empty_results_are_reported_as_such(tmp_path):
    paths = write_report({}, tmp_path)
    assert "no method was measured" in paths.html.read_text()
    assert not paths.plots


def test_names_cannot_break_the_page_or_the_table(results, tmp_path):
    results["rows"].append(row("<script>alert(1)</script> a|b", "mine", 0.25))
    paths = write_report(results, tmp_path)
    assert "<script>" not in paths.html.read_text()
    tables = [line for line in paths.markdown.read_text().splitlines() if line.startswith("|")]
    scores = tables[: 2 + len(results["rows"])]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in scores} == {11}


def test_the_terminal_shows_every_method_and_the_verdict(results):
    results["rows"].append(row("[red]odd[/red]", "mine", 0.1))
    console = Console(file=StringIO(), width=80)
    print_tables(results, console)
    shown = console.file.getvalue()
    for measured in results["rows"]:
        assert measured["method"] in shown
    assert f"30.7 (28.7{DASH}32.7)" in shown
    assert "Simulated" in shown
    assert "meta-perser has the highest macro-F1" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("rows", "differences", "expected"),
    [
        ([("m", 0.3), ("n", 0.2)], [("m", "n", 0.1)], "ahead of n by +10.0 points"),
        ([("m", 0.3), ("n", 0.2)], [("n", "m", -0.1)], "ahead of n by +10.0 points (+8.0 to +12.0"),
        ([("m", 0.3), ("n", 0.29)], [("m", "n", 0.01)], "its lead over n, +1.0 points"),
        ([("m", 0.3), ("n", 0.29)], [("m", "n", 0.01)], "is within chance"),
        ([("m", 0.3), ("n", 0.29)], [], "without a paired comparison"),
        ([("m", 0.3), ("n", 0.2), ("random", 0.1)], [], "The best trivial row, random, has 10.0%"),
        ([("m", 0.3), ("random", 0.4)], [], "No method beats the trivial row random"),
        ([("random", 0.4)], [], "nothing to conclude"),
        ([], [], "nothing to conclude"),
    ],
)
def test_the_verdict_is_as_certain_as_the_intervals(rows, differences, expected):
    rows = [row(name, "trivial" if name == "random" else "mine", mean) for name, mean in rows]
    assert expected in verdict(rows, [difference(*pair) for pair in differences])


@pytest.mark.parametrize(("persons", "expected"), [(1, "one person"), (5, "With 5 persons"), (6, "1.")])
def test_the_verdict_says_when_persons_are_few(persons, expected):
    text = verdict([row("m", "mine", 0.3, persons=persons)], [])
    assert (expected in text) == (persons < 6)


def test_a_row_says_what_its_method_adapts(results, tmp_path):
    results["rows"].append(
        row("head-few", "mine", 0.25, adapts={"scope": "head", "steps": 50, "rate": 0.003})
    )
    paths = write_report(results, tmp_path)
    lines = paths.markdown.read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("| head-few |") and "50" in line]
    assert line.endswith("| scope head, steps 50, rate 0.003 |")
    assert "scope head, steps 50, rate 0.003" in paths.html.read_text()


def test_several_k_have_a_plot_and_a_table(results, tmp_path):
    """A method that one K lacks has a dash there."""
    smaller = [row(other["method"], other["route"], 0.123, k=8) for other in results["rows"][:2]]
    results["rows"] += smaller
    paths = write_report(results, tmp_path)
    assert [path.name for path in paths.plots][-1] == "iemocap-unseen-listener-by-k.png"
    lines = paths.markdown.read_text().splitlines()
    start = lines.index("| maF1 | K = 8 | K = 32 |")
    table = lines[start + 2 : start + 2 + len(results["rows"]) - len(smaller)]
    assert f"| meta-perser | 12.3 (10.3{DASH}14.3) | 30.7 (28.7{DASH}32.7) |" in table
    assert f"| speech-lm-0 | {DASH}  | 20.0 (18.0{DASH}22.0) |" in table
    page = Page(paths.html.read_text())
    assert not page.open
    assert not page.tables_outside


@pytest.fixture(scope="module")
def run(make_scores):
    """Results, costs and provenance of a run with two K and both person axes."""
    scores = [make_scores(k=4), make_scores(k=32), make_scores(axis="speaker")]
    provenance = {str(place): part.provenance for place, part in enumerate(scores)}
    return aggregate_results(scores, "Two routes"), aggregate_costs(scores), provenance


@pytest.fixture
def no_plots(monkeypatch):
    monkeypatch.setattr(comparisons_module, "plots", lambda rows, differences: [])


def test_routes_are_compared_by_accuracy_and_cost(run, no_plots, tmp_path):
    results, all_costs, _ = run
    paths = write_report(results, tmp_path, all_costs)
    text, page = paths.markdown.read_text(), paths.html.read_text()
    for content in (text, page):
        wins = content.index("Where each route wins")
        assert content.index("highest macro-F1") < wins < content.index("maF1")
    table = [line for line in text.splitlines() if line.startswith("|") and "MiB" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert {row[0] for row in cells} == {"meta-perser", "speech-lm-8", "entire-zero", "prior-shift"}
    (costs,) = {tuple(row[3:]) for row in cells if row[0] == "meta-perser"}
    assert costs == ("45 ms", "20 µs", "21 M", "5 k", "30 MiB")
    assert page.count("Accuracy and cost of the routes") == 3


def test_without_costs_the_routes_are_compared_by_accuracy(run, no_plots, tmp_path):
    results, _, _ = run
    paths = write_report(results, tmp_path)
    for text in (paths.markdown.read_text(), paths.html.read_text()):
        assert "Where each route wins" in text
        assert "MiB" not in text
        assert "Time to personalize" not in text


def test_the_tables_have_q_effect_and_spread(run, no_plots, tmp_path):
    results, _, _ = run
    paths = write_report(results, tmp_path)
    lines = paths.markdown.read_text().splitlines()
    assert "| Method | minus | Metric | Difference (95% interval) | Wilcoxon p | q | Effect |" in lines
    pair = next(
        pair for pair in results["differences"] if pair["metric"] == "maF1" and pair["wilcoxon_q"] > 0.01
    )
    (line,) = [
        line
        for line in lines
        if line.startswith(f"| {pair['a']} | {pair['b']} | maF1 |")
        and f"| {pair['wilcoxon_q']:.3f} |" in line
    ]
    assert f"{pair['effect']:+.2f}".replace("-", "−") in line  # noqa: RUF001
    assert "| Method | Mean | Standard deviation over persons | Worst person | Best person |" in lines
    assert "listener-0" in paths.html.read_text()


def test_the_footer_says_how_the_figures_were_made(run, no_plots, tmp_path):
    results, all_costs, provenance = run
    provenance = {**provenance, "1": provenance["1"] | {"device": "Another", "commit": None}}
    page = write_report(results, tmp_path, all_costs, provenance).html.read_text()
    footer = page[page.index("<footer>") :]
    for shown in (
        "<dt>commit</dt><dd>0123abc, not known</dd>",
        "<dt>device</dt><dd>A processor, Another</dd>",
        "<dt>threads</dt><dd>2</dd>",
        "<dt>versions</dt><dd>python 3.11.7, torch 2.11.0</dd>",
        "<dt>seeds</dt><dd>0, 1</dd>",
    ):
        assert shown in footer


def test_several_settings_have_a_sentence_for_each_axis(run, no_plots, tmp_path):
    results, _, _ = run
    found = overall_verdicts(make_comparisons(results))
    assert len(found) == 1, "the speaker's one setting has its own verdict"
    assert found[0].startswith("Personalized to the listener, 2 settings; highest macro-F1: ")
    assert "meta-perser in 2 (beyond chance in 0)" in found[0]
    page = write_report(results, tmp_path).html.read_text()
    assert page.index(found[0]) < page.index('class="verdict single"')
