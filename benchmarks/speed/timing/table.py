"""Print the comparisons as tables, and turn them into what the JSON file holds."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.speed.timing.comparison import Peaks, Timing

GIGA = 1e9

HEADINGS = ("seconds", "speedup over first", "GFLOP", "ideal, s", "over own ideal", "over our ideal")


def print_timing(timing: Timing, rate: float, console: Console) -> None:
    """Print one comparison. `rate`: the machine's floating-point operations a second."""
    first, *_ = timing.rows
    table = Table()
    table.add_column("contender", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in timing.rows:
        floor, our_floor = row.operations / rate, timing.ours.operations / rate
        figures = (
            f"{row.seconds:.3g}",
            f"{first.seconds / row.seconds:.2f}",
            f"{row.operations / GIGA:.4g}",
            f"{floor:.3g}",
            f"{row.seconds / floor:.2f}",
            f"{row.seconds / our_floor:.2f}",
        )
        table.add_row(f"[bold]{row.name}[/bold]" if row is timing.ours else row.name, *figures)
    console.print(timing.title)
    console.print(table)
    if timing.encoding:
        console.print(f"encoding of the clips, once: {median(timing.encoding):.3g} s")
    for note in timing.notes:
        console.print(note)
    for name, far in timing.agreement.items():
        console.print(f"distance of ours from {name}, {timing.distance_in}: {far:.1e}")
    console.print()


def print_memory(memory: Peaks, console: Console) -> None:
    """Print the peaks in megabytes."""
    table = Table("who", "MB")
    for name, peak in memory.peaks.items():
        table.add_row(name, f"{peak / 1e6:.0f}")
    console.print(memory.title)
    console.print(table)
    console.print(f"theirs over ours: {memory.ratio:.2f}\n")


def timing_json(timing: Timing, rate: float) -> dict[str, Any]:
    """Return everything that the table is made of."""
    return {
        "title": timing.title,
        "agreement": timing.agreement,
        "agreement_in": timing.distance_in,
        "notes": timing.notes,
        "encoding_rounds": timing.encoding,
        "rows": [
            {
                "who": row.name,
                "seconds": row.seconds,
                "rounds": row.rounds,
                "operations": row.operations,
                "floor_seconds": row.operations / rate,
                "is_ratio_base": row is timing.ours,
            }
            for row in timing.rows
        ],
    }
