"""Commands of `python -m benchmarks` whose output cannot be written say so before they do anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.few_shot.__main__ import few_shot
from benchmarks.gpu.table import gpu_page
from benchmarks.results_page import results_page
from benchmarks.speed.corpus_size import corpus_size
from benchmarks.speed.first_answer import speed_first_answer
from benchmarks.speed.harness import harness
from benchmarks.speed.meta_perser import speed_meta_perser
from benchmarks.speed.node_costs import node_costs
from benchmarks.speed.scaling import scaling
from benchmarks.speed.scaling_trainings import scaling_trainings
from benchmarks.speed.second_query import speed_second_query
from benchmarks.speed.server import speed_server
from benchmarks.speed.speechlm_icl import speed_speech_lm
from benchmarks.speed.threads import speed_threads
from benchmarks.suggestion import suggestion
from perser.errors import UserError

NOWHERE = Path("nowhere")

COMMANDS: list[tuple[Callable[..., object], dict[str, Any], str]] = [
    (few_shot, {"corpus": NOWHERE, "model": "nowhere"}, "json"),
    (gpu_page, {"results": NOWHERE}, "out"),
    (results_page, {"runs": [NOWHERE]}, "out"),
    (corpus_size, {}, "json"),
    (speed_first_answer, {"run": NOWHERE}, "json"),
    (harness, {"run": NOWHERE}, "json"),
    (speed_meta_perser, {}, "json"),
    (node_costs, {"measured": NOWHERE}, "page"),
    (scaling, {}, "json"),
    (scaling_trainings, {}, "out"),
    (speed_second_query, {"run": NOWHERE}, "json"),
    (speed_server, {"model": "nowhere"}, "json"),
    (speed_speech_lm, {}, "json"),
    (speed_threads, {}, "json"),
    (suggestion, {"run": NOWHERE}, "out"),
]


@pytest.mark.parametrize(("command", "needed", "option"), COMMANDS)
def test_an_output_that_cannot_be_written_is_named_before_anything_else(command, needed, option, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for place in ("folder", "file/x"):
        with pytest.raises(UserError, match=f"^{option}: .*{place}"):
            command(**needed, **{option: tmp_path / place})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
