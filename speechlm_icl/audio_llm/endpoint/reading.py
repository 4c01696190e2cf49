"""Read probabilities of labels out of an endpoint's reply: from log-probabilities, a choice, or a text.

Nothing that an endpoint says is taken on trust: tokens that begin no label are ignored, and so are numbers
that are no log-probabilities.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

UNLISTED = 1e-6
"""The least probability of a label that the endpoint does not list."""


def from_log_probabilities(choice: Mapping[str, Any], labels: Sequence[str]) -> np.ndarray | None:
    """Return probabilities of labels (C,) from the likeliest first tokens of an answer, or None.

    A token counts for the label that it begins; one that begins several is shared among them. A label that no
    token begins gets what is left, at most as much as the least likely token that is listed.
    """
    listed = _first_tokens(choice)
    found = np.zeros(len(labels))
    for token, probability in listed:
        begun = [
            place for place, label in enumerate(labels) if token and label.lower().startswith(token.lower())
        ]
        for place in begun:
            found[place] += probability / len(begun)
    if not found.any():
        return None
    left = max(1.0 - sum(probability for _, probability in listed), 0.0) / len(labels)
    least = min(left, min(probability for _, probability in listed))
    found[found == 0] = max(least, UNLISTED)
    return found / found.sum()


def from_choice(text: str, labels: Sequence[str]) -> np.ndarray | None:
    """Return probabilities from one label, chosen in a JSON object or named in a text; None for neither.

    One choice says little about probabilities: they are those of Laplace's rule, 2/(C + 1) for the chosen
    label and 1/(C + 1) for the others.
    """
    try:
        content = json.loads(text)
        text = str(content.get("emotion", "")) if isinstance(content, dict) else str(content)
    except (ValueError, RecursionError):
        pass
    words = re.sub(r"[^\w' -]+", " ", text.lower()).split()
    named = {
        place
        for place, label in enumerate(labels)
        if any(
            words[first : first + len(label.split())] == label.lower().split() for first in range(len(words))
        )
    }
    if len(named) != 1:
        return None
    counts = np.ones(len(labels))
    counts[named.pop()] += 1
    return counts / counts.sum()


def choice_format(labels: Sequence[str]) -> dict[str, Any]:
    """Return the part of a request that lets the endpoint choose one of the labels."""
    schema = {
        "type": "object",
        "properties": {"emotion": {"type": "string", "enum": list(labels)}},
        "required": ["emotion"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _first_tokens(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the likeliest tokens of the first position that is no space, and their probabilities."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    for position in content if isinstance(content, list) else ():
        if not isinstance(position, Mapping) or not str(position.get("token", "")).strip():
            continue
        top = position.get("top_logprobs")
        entries = [entry for entry in (top if isinstance(top, list) else ()) if isinstance(entry, Mapping)]
        listed: dict[str, float] = {}
        for entry in entries or [position]:
            token, value = entry.get("token"), entry.get("logprob")
            if not isinstance(token, str) or not isinstance(value, int | float) or isinstance(value, bool):
                continue
            if value <= 1e-3 and not math.isnan(value):
                listed.setdefault(token, math.exp(value))
        tokens = [(token.strip(), probability) for token, probability in listed.items() if probability > 0]
        total = sum(probability for _, probability in tokens)
        return [(token, probability / max(total, 1.0)) for token, probability in tokens]
    return []
