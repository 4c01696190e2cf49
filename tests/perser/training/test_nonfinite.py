from __future__ import annotations

import math

from perser.training.nonfinite import BadSteps, StepPart


def test_a_cause_read_by_several_processes_is_named_once(tmp_path, monkeypatch):
    monkeypatch.setattr("perser.training.nonfinite.gather_object", lambda parts: parts * 3)
    for finite in (False, True):
        bad = BadSteps(tmp_path, 2)
        bad.add(
            "pretrain-projector", 1, math.nan, math.nan, [StepPart(("a",), finite), StepPart(("b",), True)]
        )
        wanted = ["a", "b"] if finite else ["a"]
        assert bad.records[0]["causes"] == [{"utterances": [utterance]} for utterance in wanted]
