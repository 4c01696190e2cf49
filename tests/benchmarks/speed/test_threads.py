"""The measurement of persons in threads runs, and writes what it printed."""

from __future__ import annotations

import json

import pytest

from benchmarks.gpu.tiny_models import save_meta_perser, save_speech_lm
from benchmarks.speed.threads import speed_threads
from perser.errors import UserError

SAVE = {"meta-perser": save_meta_perser, "speech-lm": save_speech_lm}


def test_both_ways_are_timed_in_every_round(tmp_path, capsys):
    for name, save in SAVE.items():
        save(tmp_path / name)
    models = [str(tmp_path / name) for name in SAVE]
    speed_threads(models, persons=2, examples=2, rounds=2, json=tmp_path / "threads.json")
    found = json.loads((tmp_path / "threads.json").read_text())
    printed = capsys.readouterr().out
    assert list(found["seconds"]) == models
    for model, ways in found["seconds"].items():
        assert len(ways["threads"]) == len(ways["in_turn"]) == 2
        assert found["ratios"][model] == pytest.approx(min(ways["threads"]) / min(ways["in_turn"]))
        assert f"{model}: 2 persons in 2 threads" in printed


@pytest.mark.parametrize("name", ["persons", "examples", "rounds"])
def test_a_number_below_one_is_refused(name):
    with pytest.raises(UserError, match=f"^{name}: 0, give at least 1"):
        speed_threads(**{name: 0})
