from __future__ import annotations

import json

import pytest

from benchmarks.speed.scaling import scaling
from perser.errors import UserError


def test_both_train_everything_and_the_ratio_is_of_persons_a_second(tmp_path, capsys):
    out = tmp_path / "figures.json"
    scaling("tiny", rounds=1, json=out)
    found = json.loads(out.read_text())
    assert set(found["trainings"]) == {"pretrain", "meta-train", "icl-train"}
    for one in found["trainings"].values():
        rates = one["items_per_second"]
        assert one["two_processes_vs_one"] == pytest.approx(rates["two"] / rates["one"])
        assert one["items_per_second"]["one"] == one["items_per_step"] / one["seconds"]["one"]
        assert one["reduced_bytes"] > 1000
        assert all(len(seconds) >= 2 for rounds in one["rounds"].values() for seconds in rounds)
    ratio = found["ratios"]["two_processes_vs_one"]
    assert ratio == found["trainings"]["meta-train"]["two_processes_vs_one"]
    assert f"two_processes_vs_one: {ratio:.2f}" in capsys.readouterr().out


def test_no_round_is_refused():
    with pytest.raises(UserError, match="rounds: 0"):
        scaling("tiny", rounds=0)
