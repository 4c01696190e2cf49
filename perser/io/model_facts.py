"""What a folder's files say of the trained model in it, without loading anything large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perser.labels import Emotions

Place = Literal["built in", "here", "downloaded", "to be downloaded", "missing"]
"""Where a model is that another stands on: made on the spot, a folder or file that is there, in the Hub's
local cache, on the Hub alone, or a folder or file that is gone."""


@dataclass(frozen=True)
class ModelFacts:
    """One trained model.

    Args:
        route: Whose it is.
        emotions: That it tells apart.
        needs: The models that it stands on and does not hold: folders, files or Hub names, each with the
            commit where it is one of the Hub's and that is known.
    """

    route: str
    emotions: Emotions
    needs: Mapping[str, str | None]

    @property
    def places(self) -> dict[str, Place]:
        """Where each of `needs` is."""
        return {name: place_of(name, commit) for name, commit in self.needs.items()}

    @property
    def works_offline(self) -> bool:
        return all(place in ("built in", "here", "downloaded") for place in self.places.values())


def is_built_in(name: str) -> bool:
    """Whether the model of that name is made on the spot; `tiny-owner/name` is one of the Hub's."""
    return name.startswith("tiny-") and "/" not in name


def place_of(name: str, commit: str | None = None) -> Place:
    """Where the model of that name is (of the Hub's, as it was at that commit), found out without asking the
    Hub."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if is_built_in(name):
        return "built in"
    if Path(name).expanduser().exists():
        return "here"
    try:
        cached = try_to_load_from_cache(name, "config.json", revision=commit)
    except HFValidationError:  # no name of the Hub's: a path
        return "missing"
    return "downloaded" if isinstance(cached, str) else "to be downloaded"


def emotions_in(config: dict[str, Any]) -> Emotions:
    """The emotions that a model's configuration lists; none where it is damaged."""
    listed = config.get("emotions")
    return tuple(map(str, listed)) if isinstance(listed, list) else ()
