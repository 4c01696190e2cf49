"""Supervised training in several processes is that of one."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import PartialState, debug_launcher
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import nn

from meta_perser.pretrain import pretrain
from meta_perser.training.supervised import examples_by_listener
from perser.distributed import own_share_of_batch
from perser.episodes.episode import Task
from perser.labels import EmotionSet
from perser.losses import class_balanced_cross_entropy

EMOTIONS = EmotionSet(("angry", "happy", "sad"))


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_the_mean_over_processes_is_the_gradient_of_the_whole_batch(processes, monkeypatch):
    """Five utterances with 1 to 3 listeners each: no number of processes but 1 and 5 divides them."""
    rng = np.random.default_rng(0)
    tasks = [
        Task(
            f"p{p}",
            tuple(f"u{u}" for u in range(5) if u % (p + 1) == 0),
            ((EMOTIONS.names[p],),) * len(range(0, 5, p + 1)),
        )
        for p in range(3)
    ]
    examples = examples_by_listener(tasks, EMOTIONS)
    inputs = torch.tensor(rng.standard_normal((5, 4)))
    weight = nn.Parameter(torch.tensor(rng.standard_normal((3, 3, 4))))
    weights = torch.tensor([0.5, 1.0, 1.5])

    def gradient(mine, factor):
        places, heads, targets = examples.pairs(mine)
        logits = torch.einsum("bd,pcd->bpc", inputs[mine], weight)[places, heads]
        loss = class_balanced_cross_entropy(logits, targets, weights)
        loss = loss * examples.count(mine) / examples.count(chosen) * factor
        return torch.autograd.grad(loss, weight)[0]

    chosen = [3, 0, 4, 1, 2]
    shares = []
    for process in range(processes):
        state = SimpleNamespace(process_index=process, num_processes=processes)
        monkeypatch.setattr("perser.distributed.processes", lambda state=state: state)
        shares.append(own_share_of_batch(chosen, cost=lambda utterance: utterance))
    mean = sum(gradient(*share) for share in shares) / processes
    torch.testing.assert_close(mean, gradient(chosen, 1.0))
    read = [utterance for mine, factor in shares if factor for utterance in mine]
    assert sorted(read) == sorted(chosen)


def test_two_processes_train_the_model_that_one_does(toy_corpus, toy_episodes_path, tmp_path):
    """With a last batch of one utterance, which leaves the second process without any."""
    options = {
        "corpus": toy_corpus.folder,
        "episodes": toy_episodes_path,
        "cache": tmp_path / "cache",
        "target": "multi",
        "epochs": 2,
        "batch_size": 9,
        "head_size": 4,
        "adaptation_steps": 1,
    }
    pretrain(**options, out=tmp_path / "one")
    trained_on = json.loads(toy_episodes_path.read_text())["split"]["utterances"]["train"]
    assert len(trained_on) % 9 == 1, "the toy split has changed: choose another batch size"
    debug_launcher(in_a_process, (options | {"out": tmp_path / "two"},), num_processes=2)
    for file in ("recogniser.safetensors", "encoder/model.safetensors"):
        one, two = (load_file(tmp_path / name / file) for name in ("one", "two"))
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, atol=2e-4, rtol=2e-3, msg=name)


def in_a_process(options):
    """A process of its own, made by a fork: what it has inherited of the one before is put aside."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    pretrain(**options)
    assert PartialState().num_processes == 2
