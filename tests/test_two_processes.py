"""Two processes train as one does: the gradients of every training in float64, and what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from perser.corpora.corpus import Corpus
from perser.features import FeatureStore

WORKER = Path(__file__).with_name("gradients_of_training.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
# The last: `tests/perser` beside the script is not the package.
ENVIRONMENT = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}


@pytest.fixture(scope="module")
def both(toy_corpus: Corpus, toy_episodes_path: Path, tmp_path_factory) -> list[dict[str, torch.Tensor]]:
    """The gradients of one process, and of two."""
    folder = tmp_path_factory.mktemp("gradients")
    given = [WORKER, toy_corpus.folder, toy_episodes_path, folder]
    found = []
    for launch in ([], TORCHRUN):
        out = folder / "found.pt"
        environment = os.environ | ENVIRONMENT
        subprocess.run([sys.executable, *launch, *given, out], env=environment, check=True, timeout=300)
        found.append(torch.load(out, weights_only=True))
    return found


def test_there_are_gradients_of_every_training(both):
    kinds = ("meta-train 3 0 theta.", "meta-train 1 0 rates.", "pretrain", "projector.", "lora_A")
    alone = both[0]
    for kind in kinds:
        assert any(kind in name and one.abs().max() > 1e-6 for name, one in alone.items()), kind


def test_two_processes_find_the_gradients_of_one(both):
    """Of the same batches, persons and sequences; each compared tensor by tensor."""
    alone, together = both
    assert alone.keys() == together.keys()
    far = {name: (together[name] - one).norm() / one.norm().clamp_min(1e-12) for name, one in alone.items()}
    worst = max(far, key=far.__getitem__)
    assert far[worst] <= 1e-6, worst


def test_one_of_two_processes_writes_and_nothing_is_told_twice(toy_corpus, toy_episodes_path, tmp_path):
    """Through the command, from the encoding on."""
    out = tmp_path / "speech-lm"
    given = {
        "corpus": toy_corpus.folder,
        "episodes": toy_episodes_path,
        "cache": tmp_path / "cache",
        "out": out,
    }
    given |= {"steps": 3, "pairs": 4, "sequences_per_step": 3, "validation_sequences": 3, "validate_every": 3}
    words = [f"--{name}={value}" for name, value in given.items()]
    command = [sys.executable, *TORCHRUN, "-m", "speechlm_icl.train", *words]
    subprocess.run(command, env=os.environ | ENVIRONMENT, check=True, timeout=300)
    assert {one.name for one in tmp_path.iterdir()} == {"cache", "speech-lm"}
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    (started,) = (out / "environment.jsonl").read_text().splitlines()
    assert json.loads(started)["processes"] == 2
    (store,) = (tmp_path / "cache").iterdir()
    assert len(FeatureStore.open(store)) == len(toy_corpus.recordings)
