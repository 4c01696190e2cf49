"""Load the Jinja templates of reports and pages, with the filters that format figures in them."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from benchmarks.reporting import columns, formats

HERE = Path(__file__).parent


def environment(folder: Path = HERE) -> Environment:
    """Return an environment with the templates of `folder`, and those beside this file for it to include."""
    templates = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "heading": columns.heading,
        "value": columns.value_text,
        "interval": columns.interval_text,
        "difference": columns.difference_text,
        "percent": formats.percent,
        "duration": formats.duration,
        "size": formats.size,
        "memory": formats.memory,
        "share": lambda value: f"{value:.3f}",
        "groupby_metric": lambda differences: groupby(differences, key=lambda row: row["metric"]),
        "nats": formats.nats,
        "nats_of": formats.nats_of,
        "plain": formats.plain,
        "sentence": formats.sentence,
        "markdown": markdown_text,
        "effect": formats.effect_text,
        "p_value": formats.p_text,
    }
    return templates


def markdown_text(text: str) -> str:
    """Escape text so that Markdown shows it literally, also in a table's cell.

    A `<` before a space starts no tag and stays as it is.
    """
    return re.sub(r"([\\`*_\[\]>|#]|<(?! ))", r"\\\1", " ".join(str(text).split()))
