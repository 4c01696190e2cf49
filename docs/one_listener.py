"""python docs/one_listener.py [--run runs/quickstart] [--out docs/one_listener.png]

Draw the picture of the README from a finished quickstart: what one simulated listener heard in clips, what
the recognizer of the average listener hears in them, and what the one personalized to this listener hears.
The listener is the one with the median gain, so that the picture is neither the best case nor the worst.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Patch

COLORS = ("#D55E00", "#009E73", "#9467BD", "#F0C419", "#B0B0B0", "#0072B2")
"""One for each emotion, told apart by most color-blind readers."""
PROBABILITY = "probability_"


@dataclass(frozen=True)
class Heard:
    """What one listener and two models heard in the same clips: indices of emotions, one for each clip."""

    emotions: list[str]
    listener: np.ndarray
    average: np.ndarray
    personal: np.ndarray

    @property
    def gain(self) -> int:
        """How many more clips the personal model labels as the listener did."""
        return int((self.personal == self.listener).sum() - (self.average == self.listener).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--out", type=Path, default=Path("docs/one_listener.png"))
    arguments = parser.parse_args()
    name, heard = median_listener(arguments.run)
    draw(heard, arguments.out)
    print(f"{arguments.out}: listener {name}, the median of the gains in clips ({heard.gain})")


def median_listener(run: Path) -> tuple[str, Heard]:
    """Return the listener with the median gain in the run's first episodes, and what was heard."""
    average = pd.read_parquet(run / "predictions" / "entire-zero" / "seed-0.parquet")
    personal = pd.read_parquet(run / "predictions" / "meta-perser" / "seed-0.parquet")
    assert average.utterance_id.equals(personal.utterance_id)
    columns = [column for column in average if column.startswith(PROBABILITY)]
    emotions = [column.removeprefix(PROBABILITY) for column in columns]
    listeners = {
        str(person): Heard(
            emotions,
            # Of several emotions that a listener heard in a clip, the first one is drawn.
            np.array([emotions.index(heard[0]) for heard in average.heard[rows.index]]),
            average.loc[rows.index, columns].to_numpy().argmax(axis=1),
            personal.loc[rows.index, columns].to_numpy().argmax(axis=1),
        )
        for person, rows in average.groupby("person")
    }
    ordered = sorted(listeners, key=lambda person: (listeners[person].gain, person))
    chosen = ordered[len(ordered) // 2]
    return chosen, listeners[chosen]


def draw(heard: Heard, out: Path) -> None:
    """Draw three rows of squares, one for each clip; a square without a match is pale and crossed."""
    order = np.lexsort((heard.personal, heard.average, heard.listener))
    clips = len(order)
    matches = [int((row == heard.listener).sum()) for row in (heard.average, heard.personal)]
    rows = [
        (heard.listener, "What this listener heard", f"in {clips} clips that no model has seen"),
        (heard.average, "What the average model hears", f"{matches[0]} of {clips} as the listener"),
        (heard.personal, "What the personal model hears", f"{matches[1]} of {clips} as the listener"),
    ]
    figure, axes = plt.subplots(figsize=(10, 3.1), dpi=160)
    for y, (row, title, note) in enumerate(rows):
        axes.text(-0.8, y - 0.12, title, ha="right", va="center", weight="bold", fontsize=10)
        axes.text(-0.8, y + 0.2, note, ha="right", va="center", color="#444444", fontsize=9)
        for x, clip in enumerate(order):
            same = row[clip] == heard.listener[clip]
            color = COLORS[row[clip] % len(COLORS)]
            axes.add_patch(
                plt.Rectangle((x, y - 0.34), 0.9, 0.68, color=color, alpha=1.0 if same else 0.45, lw=0)
            )
            if not same:
                axes.text(x + 0.45, y, "x", ha="center", va="center", fontsize=8)
    axes.set(xlim=(-24, clips), ylim=(2.6, -0.6))
    axes.axis("off")
    patches = [Patch(color=COLORS[i % len(COLORS)], label=name) for i, name in enumerate(heard.emotions)]
    figure.legend(handles=patches, loc="lower center", ncols=len(patches), frameon=False, fontsize=9)
    figure.suptitle(
        "Each square is one clip, each color an emotion; x marks another answer than the listener's. "
        "Speech and listener are simulated.",
        fontsize=9,
        y=0.98,
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.1)
    figure.savefig(out, metadata={"Software": None})


if __name__ == "__main__":
    main()
