"""The figures published in Meta-PerSER (Fang et al. 2025, arXiv 2505.16220).

Table 1, Table 2, and what section 4.2 says about Figure 2. In percent; IEMOCAP with K = 32 and Q = 128, the
mean over five listeners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

SOURCE = "Meta-PerSER, arXiv 2505.16220"

CORPUS = "iemocap"

K, Q = 32, 128

LISTENERS, SEEDS = 5, 10
"""How many listeners a figure is the mean over, and how many episodes each has (one a seed)."""

METRICS = {"maF1": "maF1", "miF1": "miF1", "label_accuracy": "UA"}
"""Our name of each metric, and the paper's, in the paper's order."""

SCENARIOS = {"seen": "Seen Data", "unseen": "Unseen Data"}

UPSTREAMS = {"wavlm-base": "WavLM", "wav2vec2-base": "Wav2vec2", "hubert-base-ls960": "HuBERT"}
"""The last part of an encoder's name (on the Hub, or a local folder), and its name in the tables."""

Figures = Mapping[str, float]
"""Values in percent, by our name of the metric."""

TABLE_1_METHODS = {
    "random": "Random",
    "linear-few": "Linear-Few",
    "entire-few": "Entire-Few",
    "entire-zero": "Entire-Zero",
    "multi-few": "Multi-Few",
    "entire-sim": "Entire-Sim.",
    "meta-perser": "Meta-PerSER",
}

# A line is a method; in it scenario by scenario, upstream by upstream, maF1, miF1, UA, as printed.
_TABLE_1 = """
14.6 17.4 60.7 14.6 17.4 60.7 14.6 17.4 60.7 14.7 18.0 60.8 14.7 18.0 60.8 14.7 18.0 60.8
21.7 34.5 64.9 21.9 35.1 65.4 21.3 34.0 64.0 20.4 33.5 62.9 19.9 34.1 63.7 20.0 32.6 60.1
34.3 48.0 80.7 34.2 47.5 79.8 33.9 47.1 80.0 24.8 39.7 75.9 23.8 39.7 75.0 25.6 42.3 77.0
32.5 43.8 77.8 26.6 34.8 63.1 26.9 35.2 63.5 24.7 37.4 74.4 24.6 38.0 74.5 25.0 40.3 74.8
23.3 29.4 62.7 22.3 28.4 63.5 23.8 30.0 64.8 20.0 33.7 66.5 19.4 33.9 67.9 20.8 33.2 67.0
24.4 35.8 63.5 24.4 37.0 64.1 25.5 37.2 64.8 21.8 33.7 56.1 21.5 33.7 57.1 21.3 33.5 56.3
35.7 50.7 82.8 35.6 48.7 81.3 35.3 51.2 82.4 30.7 47.6 80.9 27.2 44.9 78.7 30.2 46.4 80.0
"""

# A line is an ablation on unseen data; in it upstream by upstream, maF1, miF1, UA.
_TABLE_2 = """
22.8 40.1 76.8 23.6 40.9 77.4 23.6 40.7 78.1
25.7 39.3 74.8 24.9 39.4 72.2 27.1 41.9 76.3
27.6 40.7 77.3 26.6 39.1 74.5 28.1 41.5 77.5
27.9 41.8 77.0 24.9 39.4 72.2 27.0 41.7 76.3
27.2 43.8 77.1 25.3 42.4 75.4 26.8 44.5 78.1
30.7 47.6 80.9 27.2 44.9 78.7 30.2 46.4 80.0
"""


@dataclass(frozen=True)
class AblationRow:
    """A row of Table 2: its method, and the method of its other reading where it can be read in two ways."""

    method: str
    label: str
    other_method: str | None = None
    other_label: str | None = None


TABLE_2_ROWS = (
    AblationRow("meta-perser:none", "none"),
    AblationRow("meta-perser:ini", "INI"),
    AblationRow("meta-perser:ini-csmt", "INI + CSMT"),
    AblationRow("meta-perser:ini-csmt-da", "INI + CSMT + DA", "meta-perser:ini-da", "INI + DA"),
    AblationRow("meta-perser:ini-csmt-lslr", "INI + CSMT + LSLR", "meta-perser:ini-lslr", "INI + LSLR"),
    AblationRow("meta-perser", "INI + CSMT + DA + LSLR"),
)

TABLE_2_AMBIGUITY = (
    "The printed table's tick columns are ambiguous: its fourth and fifth row can be read as DA and LSLR, "
    "each added to INI + CSMT, or as the pairs DA + INI and LSLR + INI that the text compares. Both readings "
    "are shown"
)

COMPARED_WITH = ", each compared with the same printed row"

FIGURE_2_NOTE = (
    "The paper prints no table of Figure 2. Section 4.2 gives some values of the mean over its three "
    "upstreams on seen data. They are shown beside ours where all three were measured at every K. The text "
    "does not say at which K the highest miF1 is: it is put at the K of the two other highest values, where "
    "the mean of Table 1 has it too."
)

FIGURE_2: Mapping[tuple[str, int], Figures] = {
    ("seen", 2): {"maF1": 33.2},
    ("seen", 32): {"maF1": 35.5, "miF1": 50.2, "label_accuracy": 82.1},
}
"""The mean over the three upstreams, by scenario and K."""


def table_1() -> dict[tuple[str, str, str], Figures]:
    """Return Table 1 by scenario, upstream and our name of the method."""
    columns = [(scenario, upstream) for scenario in SCENARIOS for upstream in UPSTREAMS.values()]
    return {
        (scenario, upstream, method): figures
        for method, row in zip(TABLE_1_METHODS, _rows(_TABLE_1), strict=True)
        for (scenario, upstream), figures in zip(columns, row, strict=True)
    }


def table_2() -> dict[tuple[str, str, str], Figures]:
    """Return Table 2 by scenario (only unseen), upstream and our name of the method, in both readings."""
    return {
        ("unseen", upstream, method): figures
        for ablation, row in zip(TABLE_2_ROWS, _rows(_TABLE_2), strict=True)
        for upstream, figures in zip(UPSTREAMS.values(), row, strict=True)
        for method in (ablation.method, ablation.other_method)
        if method
    }


def upstream_of(encoder: str) -> str:
    """Return an encoder's name in the paper's tables, or its own name where they do not have it."""
    return UPSTREAMS.get(PurePosixPath(encoder).name, encoder)


def _rows(printed: str) -> list[list[Figures]]:
    """Parse printed figures: for each line, the three metrics of each column."""
    lines = [[float(figure) for figure in line.split()] for line in printed.split("\n") if line]
    return [
        [dict(zip(METRICS, line[at : at + 3], strict=True)) for at in range(0, len(line), 3)]
        for line in lines
    ]
