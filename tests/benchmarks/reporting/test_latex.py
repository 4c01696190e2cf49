"""The LaTeX table compiles: its braces match, and every line has a cell for each column."""

import re
import shutil
import subprocess

import pytest

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.reporting.comparisons import make_comparisons
from benchmarks.reporting.latex import escaped, latex_table

ODD = r"a&b_50%$#{x}~^\<|>"


@pytest.fixture(scope="module")
def comparison(make_scores):
    results = aggregate_results([make_scores()], "t")
    for row in results["rows"]:
        if row["method"] == "head-few":
            row["method"] = ODD
        if row["method"] == "nothing":
            del row["metrics"]["ece"]
    (found,) = make_comparisons(results)
    return found


def body(table):
    return [line for line in table.splitlines() if line.endswith(r"\\")]


def test_braces_match_and_every_line_has_all_columns(comparison):
    table = latex_table(comparison)
    plain = re.sub(r"\\[{}&%$#_]", "", table)
    depth = 0
    for sign in plain:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    columns = re.search(r"\\begin\{tabular\}\{(l(r+))\}", table)[1]
    assert {len(re.split(r"(?<!\\)&", line)) for line in body(table)} == {len(columns)}
    assert len(body(table)) == 1 + len(comparison.rows)
    assert table.count(r"\midrule") == 2
    assert re.findall(r"\\(?:begin|end)\{(\w+)\}", table) == ["tabular", "tabular"]
    comment, *rest = table.splitlines()
    assert comment.startswith("% ")
    assert not re.search(r"(?<!\\)%", "\n".join(rest))


def test_special_characters_are_escaped():
    assert escaped(ODD) == (
        r"a\&b\_50\%\$\#\{x\}\textasciitilde{}\textasciicircum{}"
        r"\textbackslash{}\textless{}\textbar{}\textgreater{}"
    )
    assert escaped("a\nb") == "a b"


def test_the_best_of_each_metric_is_bold_without_trivial_rows(comparison):
    table = latex_table(comparison)
    methods = [row for row in comparison.rows if row["route"] != "trivial"]
    bold = re.findall(r"\\textbf\{([\d.]+)\}", table)
    for metric, choose in {"maF1": max, "brier": min, "ece": min}.items():
        best = choose(row["metrics"][metric]["mean"] for row in methods)
        assert (f"{best:.3f}" if metric == "brier" else f"{100 * best:.1f}") in bold
    trivial = [line for line in body(table) if line.startswith(("random", "nothing", "most-frequent"))]
    assert len(trivial) == 3
    assert not any("textbf" in line for line in trivial)


def test_intervals_are_in_small_print(comparison):
    first = comparison.rows[0]["metrics"]["maF1"]
    text = rf"{{\scriptsize ({100 * first['low']:.1f}--{100 * first['high']:.1f})}}"
    assert text in latex_table(comparison)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_pdflatex_compiles_the_table(comparison, tmp_path):
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + "\n"
    (tmp_path / "table.tex").write_text(head + latex_table(comparison) + r"\end{document}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
