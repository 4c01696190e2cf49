from __future__ import annotations

import json

import pytest

from benchmarks.speed.scaling import scaling
from perser.errors import UserError


def test_the_ratio_is_that_of_persons_a_second_in_meta_training(tmp_path, capsys):
    out = tmp_path / "figures.json"
    scaling("tiny", rounds=1, json=out)
    figures = json.loads(out.read_text())
    assert set(figures["trainings"]) == {"pretrain", "meta-train", "icl-train"}
    for training in figures["trainings"].values():
        rates = training["items_per_second"]
        assert training["two_processes_vs_one"] == pytest.approx(rates["two"] / rates["one"])
        assert rates["one"] == training["items_per_step"] / training["seconds"]["one"]
        assert training["reduced_bytes"] > 1000
        assert all(len(seconds) >= 2 for rounds in training["rounds"].values() for seconds in rounds)
    ratio = figures["ratios"]["two_processes_vs_one"]
    assert ratio == figures["trainings"]["meta-train"]["two_processes_vs_one"]
    assert f"two_processes_vs_one: {ratio:.2f}" in capsys.readouterr().out


def test_zero_rounds_are_refused():
    with pytest.raises(UserError, match="rounds: 0"):
        scaling("tiny", rounds=0)
