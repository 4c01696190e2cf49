"""Write what was measured of a corpus's answers: ceiling.html, ceiling.md, ceiling.png; print the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.reporting.canvas import DARK, LIGHT, Plot, Theme, data_uri, new_figure
from benchmarks.reporting.columns import WAYS_TO_DIFFER
from benchmarks.reporting.formats import DASH, minus, nats, nats_of
from benchmarks.reporting.templates import environment
from perser.io.files import write_text_atomic
from perser.io.terminal import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GLOSSARY = (
    (
        "alpha",
        "Krippendorff's alpha: 1 if all listeners agree, 0 if they agree as by chance. Two answers differ or "
        "not (nominal); answers with several emotions are as far apart as their MASI distance (Passonneau "
        "2006).",
    ),
    (
        "Consensus ceiling",
        "the accuracy that the best guess from the answers can be expected to have against the emotion that "
        "R further listeners give most (ties are broken at random). Each utterance's shares are drawn from a "
        "Dirichlet distribution that is fitted on other utterances. Taking the observed shares for the true "
        "ones would be too optimistic (winner's curse). Somebody who knew the true shares would reach the "
        "last column if that distribution is right; the fewer answers an utterance has, the further it is "
        "away.",
    ),
    (
        "What is a listener's own",
        "each row adds one way in which listeners may differ to those before it, and says how much better "
        "that predicts answers of a listener. The population is fitted to other listeners, the listener's "
        "part to four fifths of the listener's labels, and the rest are predicted; the others' answers to "
        "the same utterance are known.",
    ),
    *((name, f"{meaning}.") for name, meaning in WAYS_TO_DIFFER.items()),
    (
        "Intervals",
        "95%. Those of agreement and of the consensus ceiling are over utterances (bootstrap), those of "
        "gains over listeners (Student's t). The gains' intervals hold for all four rows together, and their "
        "upper ends also hold for what could be gained if each listener and each utterance were known "
        "exactly (extrapolated from the answers of all and of half of the others). A row adds nothing if its "
        "interval is not above 0.",
    ),
)


@dataclass(frozen=True)
class TextTable:
    """A table of a page, as text."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def write_pages(content: Mapping[str, Any], folder: Path) -> None:
    """Write ceiling.html, ceiling.md and ceiling.png into `folder`, which is created if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    title = "Consensus ceiling against R" + (", and gains against K" if content["curve"] else "")
    plot = Plot("ceiling", title, lambda theme: _draw(content, theme))
    light = plot.png(LIGHT)
    (folder / "ceiling.png").write_bytes(light)
    shown = {name: content[name] for name in ("corpus", "simulated", "notes")}
    shown |= {"content": content, "tables": make_tables(content), "plot": plot, "glossary": GLOSSARY}
    shown["image"] = {"light": data_uri(light), "dark": data_uri(plot.png(DARK))}
    templates = environment(Path(__file__).parent)
    for ending in ("md", "html"):
        page = templates.get_template(f"ceiling_page.{ending}.jinja").render(shown)
        write_text_atomic(folder / f"ceiling.{ending}", page)


def print_summary(content: Mapping[str, Any]) -> None:
    """Print the sentences and the main figures in the terminal."""
    if content["simulated"]:
        print("Simulated data: these figures say nothing about real people.")
    print(content["sentence"])
    if content["not_computed"]:
        print(content["not_computed"])
    for table in make_tables(content):
        print(f"\n{table.title}")
        cells = [table.heads, *table.rows]
        widths = [max(len(row[place]) for row in cells) for place in range(len(table.heads))]
        for row in cells:
            print(
                "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            )


def make_tables(content: Mapping[str, Any]) -> list[TextTable]:
    """Return the tables of a page."""
    tables = [_agreement(content), _ceiling(content)]
    if content["ladder"]:
        tables += [_ladder(content), _curve(content)]
    return tables


def _agreement(content: Mapping[str, Any]) -> TextTable:
    others = content["agreement_with_others"]
    rows = [
        [f"Krippendorff's alpha ({content['distance']})", _share(content["alpha"])],
        ["Agreement of two listeners", _share(content["pairwise"])],
        ["Agreement with what the others say most", _share(others["mean"])],
    ]
    if others["by_listener"]:
        values = sorted(others["by_listener"].items(), key=lambda item: item[1])
        spread = f"{others['deviation']:.3f}; without chance {others['true_deviation']:.3f}"
        rows += [
            ["The same, standard deviation between listeners", spread],
            [
                "The same, lowest and highest",
                " and ".join(f"{v:.3f} ({n})" for n, v in (values[0], values[-1])),
            ],
        ]
    listeners = content["listeners"] or None
    title = (
        f"Agreement: {counted(content['utterances'], 'utterance')}, {counted(content['answers'], 'answer')}, "
        f"{'unknown listeners' if listeners is None else counted(listeners, 'listener')}"
    )
    return TextTable(title, ["", "Value (95% interval)"], rows)


def _ceiling(content: Mapping[str, Any]) -> TextTable:
    rows = [
        [size, _share(value), f"{value['naive']:.3f}", f"{value['known_shares']:.3f}"]
        for size, value in content["ceiling"].items()
    ]
    heads = ["R", "Ceiling (95% interval)", "Observed shares taken for true", "True shares known"]
    return TextTable("Consensus ceiling: accuracy against a majority of R listeners", heads, rows)


def _ladder(content: Mapping[str, Any]) -> TextTable:
    heads = ["Rung", "Log loss", "Adds (95% interval)", "If known exactly", "Standard deviation in logits"]
    loss = content["consensus"]["mean"]
    rows = [["consensus", f"{loss:.3f}", DASH, DASH, DASH]]
    for rung in content["ladder"]:
        loss -= rung["gain"]["mean"]
        deviation = content["deviations"][rung["name"]]
        if isinstance(deviation, Mapping):
            deviation = max(deviation.values())
        adds = f"{nats(rung['gain'])}{'' if rung['adds'] else ': nothing'}"
        rows.append([rung["name"], f"{loss:.3f}", adds, nats_of(rung["gain"]["known"]), f"{deviation:.2f}"])
    title = f"The ladder: held-out log loss of {content['ladder_listeners']} listeners, in nats an answer"
    return TextTable(title, heads, rows)


def _curve(content: Mapping[str, Any]) -> TextTable:
    names = [rung["name"] for rung in content["ladder"]]
    rows = []
    for point in content["curve"]:
        gains = point["gains"] or []
        values = [nats_of(rung["gain"]["mean"]) for rung in gains] or [DASH] * len(names)
        total = nats(point["total"]) if gains else DASH
        rows.append([str(point["k"]), str(point["listeners"]), *values, total])
    heads = ["K", "Listeners", *names, "All (95% interval)"]
    return TextTable("Gained with K labels of a listener, in nats an answer", heads, rows)


def _share(value: Mapping[str, float]) -> str:
    return minus(f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})")


def _draw(content: Mapping[str, Any], theme: Theme) -> Figure:
    points = [point for point in content["curve"] or () if point["gains"]]
    figure, axes = new_figure(theme, 5.6 if points else 2.9, rows=2 if points else 1)
    sizes = [int(size) for size in content["ceiling"]]
    for place, (name, label) in enumerate(
        (
            ("mean", "ceiling"),
            ("naive", "observed shares taken for true"),
            ("known_shares", "true shares known"),
        )
    ):
        values = [100 * value[name] for value in content["ceiling"].values()]
        axes.plot(sizes, values, color=theme.routes[place], marker="o", markersize=4, label=label)
    axes.set_xlabel("R, listeners in the majority")
    axes.set_ylabel("accuracy (%)")
    axes.legend(frameon=False, fontsize=9, labelcolor=theme.ink)
    if points:
        _draw_curve(figure.axes[1], points, theme)
    return figure


def _draw_curve(axes: Any, points: list[Mapping[str, Any]], theme: Theme) -> None:
    """Draw the sum of the gains of the rungs up to each, against K."""
    sizes = [point["k"] for point in points]
    sums = [0.0] * len(points)
    for place, rung in enumerate(points[0]["gains"]):
        sums = [
            total + point["gains"][place]["gain"]["mean"] for total, point in zip(sums, points, strict=True)
        ]
        label = "bias" if place == 0 else f"+ {rung['name']}"
        axes.plot(sizes, sums, color=theme.routes[place], marker="o", markersize=4, label=label)
    bounds = [[point["total"][bound] for point in points] for bound in ("low", "high")]
    axes.fill_between(sizes, *bounds, color=theme.routes[3], alpha=0.18, linewidth=0)
    axes.axhline(0, color=theme.muted, linewidth=1.2, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("K, labels of the listener")
    axes.set_ylabel("nats gained")
    axes.legend(frameon=False, fontsize=9, labelcolor=theme.ink)
