"""A case of two trivial methods on the toy corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measuring.cells import Case
from perser.corpora.corpus import Corpus

METHODS = ("random", "most-frequent")


@pytest.fixture
def case(toy_corpus: Corpus, toy_episodes_path: Path, tmp_path: Path) -> Case:
    return Case(toy_corpus.folder, toy_episodes_path, tmp_path / "models", tmp_path / "cache", METHODS)
