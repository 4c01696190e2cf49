"""Answers to questions are timed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from benchmarks.measuring import answer as module
from benchmarks.measuring.answer import answer_questions
from perser.episodes.episode import Question, Support


class QueuedMethod:
    """A method whose work, as on a GPU, is done when somebody waits for it: 3 seconds, then 5."""

    def __init__(self):
        self.now, self.queued = 0.0, 0.0

    def personalize(self, support):
        self.queued += 3.0
        return self

    def predict_proba(self, utterances):
        self.queued += 5.0
        return np.full((len(utterances), 2), 0.5)

    def wait(self, device):
        assert device == torch.device("cuda")
        self.now, self.queued = self.now + self.queued, 0.0


def test_a_gpu_s_work_is_counted_where_it_was_asked_for(monkeypatch):
    method = QueuedMethod()
    state = SimpleNamespace(device=torch.device("cuda"), is_local_main_process=False)
    monkeypatch.setattr(module, "processes", lambda: state)
    monkeypatch.setattr(torch.cuda, "synchronize", method.wait)
    monkeypatch.setattr("time.perf_counter", lambda: method.now)
    support = Support(("a",), (("happy",),), seed=0)
    question = Question(support, ("b", "c"))
    (answer,) = answer_questions(method, [question], "bench")
    assert answer.seconds_personalize == 3.0
    assert answer.seconds_predict == 2.5
