"""The paper's tables from made-up rows: its layout, and its figures only where they can be compared."""

from __future__ import annotations

import re
from itertools import count, groupby

import pytest

from benchmarks.paper.published import FIGURE_2, TABLE_1_METHODS, table_1, table_2, upstream_of
from benchmarks.paper.tables import paper_pages
from benchmarks.paper.write_tables import write_paper_tables
from benchmarks.reporting import canvas

ENCODERS = {
    "WavLM": "microsoft/wavlm-base",
    "Wav2vec2": "facebook/wav2vec2-base",
    "HuBERT": "facebook/hubert-base-ls960",
}
HUB = tuple(ENCODERS.values())
METHODS = [*TABLE_1_METHODS, "prior-shift", "speech-lm-8"]
ABLATIONS = ["none", "ini", "ini-csmt", "ini-csmt-da", "ini-csmt-lslr", "ini-da", "ini-lslr", "mine"]
METRICS = ("maF1", "miF1", "label_accuracy")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def coarse_plots(monkeypatch):
    monkeypatch.setattr(canvas, "DPI", 30)


def results(corpus="iemocap", simulated=False, q=128, encoders=HUB, scenarios=("seen", "unseen")):
    """Every method, ablation and K, each with a figure of its own above 90%, where the paper has none."""
    number = count(900_000)
    places = [
        (encoder, scenario, method, 32)
        for encoder in encoders
        for scenario in scenarios
        for method in METHODS
    ]
    places += [
        (encoder, "unseen", f"meta-perser:{ablation}", 32)
        for encoder in encoders
        for ablation in ABLATIONS
        if "unseen" in scenarios
    ]
    places += [(e, s, "meta-perser", k) for e in encoders for s in scenarios for k in (2, 4, 8, 16, 64)]
    rows = [
        {
            "method": method,
            "route": "made-up",
            "corpus": corpus,
            "scenario": scenario,
            "person_axis": "listener",
            "encoder": encoder,
            "k": k,
            "persons": 5,
            "episodes": 50,
            "metrics": {metric: {"mean": next(number) / 1e6, "low": 0.9, "high": 1.0} for metric in METRICS},
        }
        for encoder, scenario, method, k in places
    ]
    return {"meta": {"title": "Made up", "simulated": simulated, "q": q}, "rows": rows}


def measured(results, scenario, upstream, method, metric, k=32):
    (row,) = [
        row
        for row in results["rows"]
        if (row["scenario"], upstream_of(row["encoder"]), row["method"], row["k"])
        == (scenario, upstream, method, k)
    ]
    return 100 * row["metrics"][metric]["mean"]


def texts_in(folder):
    return {
        path.name: path.read_text() for path in folder.rglob("*") if path.suffix in (".md", ".html", ".tex")
    }


def test_the_published_figures_are_those_printed():
    """Figures picked by eye from the paper, from every corner of its tables."""
    first, second = table_1(), table_2()
    assert first["seen", "WavLM", "random"] == {"maF1": 14.6, "miF1": 17.4, "label_accuracy": 60.7}
    assert first["seen", "HuBERT", "meta-perser"] == {"maF1": 35.3, "miF1": 51.2, "label_accuracy": 82.4}
    assert first["unseen", "WavLM", "entire-few"] == {"maF1": 24.8, "miF1": 39.7, "label_accuracy": 75.9}
    assert first["unseen", "HuBERT", "entire-sim"] == {"maF1": 21.3, "miF1": 33.5, "label_accuracy": 56.3}
    assert first["seen", "Wav2vec2", "multi-few"] == {"maF1": 22.3, "miF1": 28.4, "label_accuracy": 63.5}
    assert len(first) == 7 * 6
    for upstream in ENCODERS:  # the last row of Table 2 is that of Table 1
        assert second["unseen", upstream, "meta-perser"] == first["unseen", upstream, "meta-perser"]
    assert second["unseen", "Wav2vec2", "meta-perser:none"] == {
        "maF1": 23.6,
        "miF1": 40.9,
        "label_accuracy": 77.4,
    }
    assert second["unseen", "HuBERT", "meta-perser:ini-da"] == {
        "maF1": 27.0,
        "miF1": 41.7,
        "label_accuracy": 76.3,
    }
    assert second["unseen", "WavLM", "meta-perser:ini-csmt-lslr"]["miF1"] == 43.8


def test_the_layout_is_the_papers():
    (page,) = paper_pages(results(encoders=HUB[::-1]))
    first, second = page.tables
    assert first.columns == [(scenario, upstream) for scenario in ("seen", "unseen") for upstream in ENCODERS]
    assert first.heads[0] == ("Scenario", [("Seen Data", 9), ("Unseen Data", 9)])
    assert [words for words, _ in first.heads[2][1]] == ["maF1", "miF1", "UA"] * 6
    papers, ours = first.groups
    assert [row.label for row in papers.rows] == [*TABLE_1_METHODS.values()]
    assert (ours.heading, [row.label for row in ours.rows]) == (
        "Not in the paper",
        ["prior-shift", "speech-lm-8"],
    )
    assert second.columns == [("unseen", upstream) for upstream in ENCODERS]
    assert [[row.label for row in group.rows] for group in second.groups] == [
        ["none", "INI", "INI + CSMT", "INI + CSMT + DA", "INI + CSMT + LSLR", "INI + CSMT + DA + LSLR"],
        ["INI + DA", "INI + LSLR"],
        ["meta-perser:mine"],
    ]
    assert "ambiguous" in second.notes[0]


def test_a_difference_is_ours_minus_the_papers():
    given = results()
    (page,) = paper_pages(given)
    printed = table_1()
    (papers, ours), columns = page.tables[0].groups, page.tables[0].columns
    for method, row in zip(TABLE_1_METHODS, papers.rows, strict=True):
        expected = [
            measured(given, scenario, upstream, method, metric) - printed[scenario, upstream, method][metric]
            for scenario, upstream in columns
            for metric in METRICS
        ]
        assert [value.difference for value in row.values] == pytest.approx(expected, abs=1e-9)
    assert all(value.paper is None for row in ours.rows for value in row.values)
    pairs = page.tables[1].groups[1].rows[0].values  # INI + DA, beside the fourth printed row
    assert pairs[0].difference == pytest.approx(
        measured(given, "unseen", "WavLM", "meta-perser:ini-da", "maF1") - 27.9
    )


def test_figure_2_is_the_mean_over_upstreams():
    given = results()
    (page,) = paper_pages(given)
    assert [curve.scenario for curve in page.curves] == ["seen", "unseen"]
    for curve in page.curves:
        assert curve.sizes == [2, 4, 8, 16, 32, 64]
        for metric in METRICS:
            for k, value in zip(curve.sizes, curve.values[metric], strict=True):
                three = [
                    measured(given, curve.scenario, upstream, "meta-perser", metric, k)
                    for upstream in ENCODERS
                ]
                assert value.ours == pytest.approx(sum(three) / 3)
                assert value.paper == FIGURE_2.get((curve.scenario, k), {}).get(metric)


def test_figure_2_has_only_upstreams_with_every_k():
    """A mean over one upstream at K = 2 and over three at K = 32 would not be a curve of K."""
    given = results()
    given["rows"] = [row for row in given["rows"] if row["k"] == 32 or "wavlm" in row["encoder"]]
    (page,) = paper_pages(given)
    assert [curve.upstreams for curve in page.curves] == [["WavLM"], ["WavLM"]]
    values = [value for curve in page.curves for metric in METRICS for value in curve.values[metric]]
    assert all(value.paper is None for value in values)  # the paper's is the mean over three


def test_missing_figures_are_dashes(tmp_path):
    given = results(encoders=[ENCODERS["WavLM"]], scenarios=["seen"])
    write_paper_tables(given, tmp_path)
    row = next(
        line for line in texts_in(tmp_path)["paper_tables.md"].splitlines() if line.startswith("| Entire-Few")
    )
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    ours = f"{measured(given, 'seen', 'WavLM', 'entire-few', 'maF1'):.1f}"
    assert cells[0].startswith(f"{ours} (34.3, +")
    assert cells[3] == "– (34.2, –)"  # noqa: RUF001
    given["rows"] += results(corpus="other", encoders=["tiny-wavlm"], scenarios=["seen"])["rows"]
    assert paper_pages(given)[1].tables[0].columns == [("seen", "tiny-wavlm")]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"corpus": "cremad"}, "another corpus"),
        ({"simulated": True}, "another corpus"),
        ({"q": 64}, "Measured differently"),
        ({"q": None}, "Measured differently"),
    ],
    ids=["another corpus", "a simulated iemocap", "another Q", "no Q"],
)
def test_no_figure_of_the_paper_is_shown_where_it_cannot_be_compared(changed, message, tmp_path):
    write_paper_tables(results(**changed), tmp_path)
    printed = {
        value
        for table in (table_1(), table_2(), FIGURE_2)
        for row in table.values()
        for value in row.values()
    }
    assert len(printed) > 100
    found = texts_in(tmp_path)
    assert set(found) == {"paper_tables.md", "paper_tables.html", "paper_table_1.tex", "paper_table_2.tex"}
    for text in found.values():
        assert message in text
        shown = re.sub(r"base64,[\w+/=]+", "", text)
        numbers = set(re.findall(r"(?<![\d.])\d+\.\d(?!\d)", shown))
        assert numbers  # ours
        assert not numbers & {f"{value:.1f}" for value in printed}


def test_every_figure_of_the_paper_is_shown_where_it_can_be_compared(tmp_path):
    write_paper_tables(results(), tmp_path)
    found = texts_in(tmp_path)
    for name, table in (("paper_table_1.tex", table_1()), ("paper_table_2.tex", table_2())):
        values = {f"{value:.1f}" for row in table.values() for value in row.values()}
        for text in (found[name], found["paper_tables.md"], found["paper_tables.html"]):
            assert all(re.search(rf"(?<![\d.]){re.escape(value)}(?!\d)", text) for value in values)


def test_upstreams_match_by_name_on_the_hub_and_by_folder(tmp_path):
    local = ["/data/models/wavlm-base", "models/wav2vec2-base/", "hubert-base-ls960"]
    (page,) = paper_pages(results(encoders=local))
    assert list(page.upstreams.values()) == [*ENCODERS]
    assert upstream_of("microsoft/wavlm-base-plus") == "microsoft/wavlm-base-plus"
    (page,) = paper_pages(results(encoders=["tiny-whisper", "models/wavlm-base", "microsoft/wavlm-base"]))
    assert list(page.upstreams.values()) == ["WavLM", "tiny-whisper", "microsoft/wavlm-base"]
    values = page.tables[0].groups[0].rows[0].values
    own = [
        value
        for (_, upstream), at in zip(page.tables[0].columns, range(0, len(values), 3), strict=True)
        for value in values[at : at + 3]
        if upstream not in ENCODERS
    ]
    assert own
    assert all(value.paper is None and value.ours is not None for value in own)


def test_rows_that_do_not_belong_in_the_tables_make_no_page(tmp_path):
    given = results()
    speakers = {"meta": given["meta"], "rows": [row | {"person_axis": "speaker"} for row in given["rows"]]}
    lacking = {"meta": {}, "rows": [row | {"scenario": "seen (missing enrollment)"} for row in given["rows"]]}
    trivial = {"meta": {}, "rows": [row for row in given["rows"] if row["method"] == "random"]}
    for other in (speakers, lacking, trivial, {"meta": {}, "rows": []}):
        assert write_paper_tables(other, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_the_page_says_where_its_episodes_are_fewer_than_the_papers():
    given = results()
    given["rows"] = [row | {"episodes": 2, "persons": 1} for row in given["rows"]]
    (page,) = paper_pages(given)
    assert "1 listener, 2 episodes" in page.standing


def test_latex_rows_have_one_cell_for_each_column(tmp_path):
    write_paper_tables(results(encoders=[*HUB, "my_encoder"]), tmp_path)
    text = (tmp_path / "tables" / "paper_table_1.tex").read_text()
    assert r"my\_encoder" in text
    width = len(re.search(r"\\begin\{tabular\}\{l(r+)\}", text)[1])
    assert width == 3 * 2 * 4
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 7 * 3 + 2  # ours, the paper's, the difference; and two of our own
    assert {line.count(" & ") for line in rows} == {width}
    spans = [
        int(span)
        for line in text.splitlines()
        if line.startswith("Scenario")
        for span in re.findall(r"column\{(\d+)", line)
    ]
    assert sum(spans) == width


def test_each_corpus_has_its_own_tables_and_figure(tmp_path):
    given = results()
    given["rows"] += results(corpus="CREMA-D x")["rows"]
    written = write_paper_tables(given, tmp_path)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [path.name for path in written if path.suffix == ".png"] == [
        "figure-2.png",
        "figure-2-crema-d-x.png",
    ]
    assert all(path.read_bytes().startswith(PNG) for path in written if path.suffix == ".png")
    page = (tmp_path / "paper_tables.html").read_text()
    assert page.count("<table>") == page.count('<div class="scroll"')
    assert not re.findall(r'(?:src|srcset|href)="(?!data:)', page)
    assert [kind for kind, _ in groupby(re.findall(r"<h2>(.*?)</h2>", page))] == ["iemocap", "CREMA-D x"]
