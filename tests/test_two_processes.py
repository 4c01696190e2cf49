"""Two processes train as one does: the gradients of every training in float64, and what they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from perser.corpora.corpus import Corpus
from perser.encoders.feature_cache import FeatureStore

Found = dict[str, torch.Tensor]
WORKER = Path(__file__).with_name("gradients_of_training.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
# The last: `tests/perser` beside the script is not the package.
ENVIRONMENT = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
WEIGHTS: dict[str, dict[str, str]] = {
    "whole": {},
    "in shares": {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"},
}
"""How each of two processes has them: what `accelerate launch` sets for it."""


@pytest.fixture(scope="module")
def gradients(toy_corpus: Corpus, toy_episodes_path: Path, tmp_path_factory) -> Callable[..., Found]:
    """Those that a launch finds, with what its environment says besides; each launch runs once."""
    folder = tmp_path_factory.mktemp("gradients")
    given = [WORKER, toy_corpus.folder, toy_episodes_path, folder]

    @cache
    def find(weights: str | None) -> Found:
        out = folder / "found.pt"
        launch = TORCHRUN if weights else []
        environment = os.environ | ENVIRONMENT | WEIGHTS.get(weights, {})
        subprocess.run([sys.executable, *launch, *given, out], env=environment, check=True, timeout=300)
        return torch.load(out, weights_only=True)

    return find


def test_there_are_gradients_of_every_training(gradients):
    kinds = ("meta-train 3 0 theta.", "meta-train 1 0 rates.", "pretrain", "projector.", "lora_A")
    alone = gradients(None)
    for kind in kinds:
        assert any(kind in name and one.abs().max() > 1e-6 for name, one in alone.items()), kind


@pytest.mark.parametrize("weights", WEIGHTS)
def test_two_processes_find_the_gradients_of_one(weights, gradients):
    """Of the same batches, persons and sequences; each compared tensor by tensor."""
    alone, together = gradients(None), gradients(weights)
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
    given |= {"steps": 3, "pairs": 4, "batch_size": 3, "validation_sequences": 3, "validate_every": 3}
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


OPTIONS = {
    "meta_perser.pretrain": "--batch_size 13 --head_size 8 --adaptation_steps 1 --scope top_layers:1",
    "meta_perser.train": "--scope head --inner.steps 2 --inner.support 4 --inner.adaptation_steps 2 "
    "--outer.batch_size 3 --outer.validate_every 4 --outer.steps 14",
    "speechlm_icl.train": "--pairs 3 --batch_size 5 --projector_steps 4 --steps 12 --validate_every 4 "
    "--projector.width 16 --validation_sequences 3",
}
"""What divides unevenly by two."""


@pytest.fixture
def command(toy_corpus, toy_episodes_path, tmp_path) -> Callable[[str], list[str]]:
    """A training by two processes, all but where it writes."""

    def make(module: str) -> list[str]:
        given = [f"--corpus={toy_corpus.folder}", f"--episodes={toy_episodes_path}"]
        given += [f"--cache={tmp_path / 'cache'}", "--run.checkpoint_seconds=0"]
        if module == "meta_perser.train":
            first, ssl_e = "meta_perser.pretrain", tmp_path / "ssl-e"
            words = [*given, f"--out={ssl_e}", *OPTIONS[first].split(), "--epochs=1"]
            subprocess.run([sys.executable, "-m", first, *words], env=os.environ | ENVIRONMENT, check=True)
            given.append(f"--ssl_e={ssl_e}")
        if module == "meta_perser.pretrain":
            given.append("--epochs=3")
        return [sys.executable, *TORCHRUN, "-m", module, *given, *OPTIONS[module].split()]

    return make


def started(words: list[str], out: Path, environment: dict[str, str]) -> tuple[subprocess.Popen, list[int]]:
    """The launcher, when six steps are logged, and the processes that it started."""
    launched = subprocess.Popen([*words, f"--out={out}"], env=environment)
    log = out.with_name(f"{out.name}-running") / "metrics.jsonl"
    while launched.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < 6):
        time.sleep(0.002)
    workers = Path(f"/proc/{launched.pid}/task/{launched.pid}/children").read_text()
    return launched, list(map(int, workers.split()))


@pytest.mark.soak
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("module", OPTIONS)
def test_two_killed_processes_go_on_as_two_that_were_not(module, weights, command, tmp_path):
    """Bit for bit; the kill comes at a moment that nobody chose."""
    words, out, wanted = command(module), tmp_path / "out", tmp_path / "wanted"
    environment = os.environ | ENVIRONMENT | WEIGHTS[weights]
    subprocess.run([*words, f"--out={wanted}"], env=environment, check=True, timeout=300)
    launched, workers = started(words, out, environment)
    for one in workers:
        os.kill(one, signal.SIGKILL)
    assert launched.wait(timeout=60) != 0
    subprocess.run([*words, f"--out={out}"], env=environment, check=True, timeout=300)
    weights = sorted(one.relative_to(out) for one in out.rglob("*.safetensors"))
    assert weights
    for one in weights:
        assert (out / one).read_bytes() == (wanted / one).read_bytes(), one
    assert lines(out) == lines(wanted)
    assert len((out / "environment.jsonl").read_text().splitlines()) == 2, "it went on"


@pytest.mark.soak
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_signal_to_the_launcher_and_to_both_finishes_the_step_and_saves(weights, command, tmp_path):
    """As a cluster sends it, to every process of a job; the launcher sends its own another."""
    words, out = command("speechlm_icl.train"), tmp_path / "out"
    environment = os.environ | ENVIRONMENT | WEIGHTS[weights]
    words += ["--run.checkpoint_seconds=1000", "--steps=4000"]
    launched, workers = started(words, out, environment)
    for one in (*workers, launched.pid):
        os.kill(one, signal.SIGTERM)
    assert launched.wait(timeout=60) != 0
    running = tmp_path / "out-running"
    last = lines(running)[-1]["step"]
    assert f"stopped after step {last} of meta-training" in (running / "log.txt").read_text()
    assert list((running / "checkpoints").glob(f"*-step-{last}"))


def lines(folder: Path) -> list[dict]:
    """What was logged, times apart."""
    content = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: one for name, one in line.items() if name != "seconds"} for line in content]
