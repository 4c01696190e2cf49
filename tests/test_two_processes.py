"""Two processes train as one does: every training has the same gradients in float64 and the same outputs."""

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

Gradients = dict[str, torch.Tensor]
WORKER = Path(__file__).with_name("gradients_of_training.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
# PYTHONSAFEPATH: `tests/perser`, beside the script, must not be taken for the package.
ENVIRONMENT = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
SHARDING: dict[str, dict[str, str]] = {
    "replicated": {},
    "sharded": {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"},
}
"""How two processes hold the weights, and the variables that `accelerate launch` sets for it."""


@pytest.fixture(scope="module")
def gradients(toy_corpus: Corpus, toy_episodes_path: Path, tmp_path_factory) -> Callable[..., Gradients]:
    """A function that returns the gradients of one process (None) or of two (a key of SHARDING)."""
    folder = tmp_path_factory.mktemp("gradients")
    arguments = [WORKER, toy_corpus.folder, toy_episodes_path, folder]

    @cache
    def compute(sharding: str | None) -> Gradients:
        out = folder / "gradients.pt"
        launch = TORCHRUN if sharding else []
        environment = os.environ | ENVIRONMENT | SHARDING.get(sharding, {})
        subprocess.run([sys.executable, *launch, *arguments, out], env=environment, check=True, timeout=300)
        return torch.load(out, weights_only=True)

    return compute


def test_every_training_has_gradients(gradients):
    kinds = ("meta-train 3 0 theta.", "meta-train 1 0 rates.", "pretrain", "projector.", "lora_A")
    kinds += ("pretrain-projector 0.0 3 ", "pretrain-projector 1.0 3 ")
    kinds += ("proximal 3 0 theta.classifier", "proximal 1 0 strengths.")
    alone = gradients(None)
    for kind in kinds:
        assert any(kind in name and tensor.abs().max() > 1e-6 for name, tensor in alone.items()), kind


@pytest.mark.parametrize("sharding", SHARDING)
def test_two_processes_have_the_gradients_of_one(sharding, gradients):
    """The batches, persons and sequences are the same; gradients are compared tensor by tensor."""
    expected, actual = gradients(None), gradients(sharding)
    if sharding == "sharded":  # controls need whole weights, so they are not measured
        expected = {name: tensor for name, tensor in expected.items() if " control_" not in name}
    assert expected.keys() == actual.keys()
    errors = {
        name: (actual[name] - tensor).norm() / tensor.norm().clamp_min(1e-12)
        for name, tensor in expected.items()
    }
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] <= 1e-6, worst


def test_only_one_of_two_processes_writes_and_logs(toy_corpus, toy_episodes_path, tmp_path):
    """The command runs from the encoding on, and starts its processes itself (`--processes`)."""
    out = tmp_path / "speech-lm"
    options = {
        "corpus": toy_corpus.folder,
        "episodes": toy_episodes_path,
        "cache": tmp_path / "cache",
        "out": out,
    }
    options |= {
        "steps": 3,
        "pairs": 4,
        "batch_size": 3,
        "validation_sequences": 3,
        "validate_every": 3,
        "projector_steps": 0,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "perser.cli", "icl-train", *words, "--processes=2"]
    subprocess.run(command, env=os.environ | ENVIRONMENT, check=True, timeout=300)
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "speech-lm"}
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    (environment,) = (out / "environment.jsonl").read_text().splitlines()
    assert json.loads(environment)["processes"] == 2
    (store,) = (tmp_path / "cache").iterdir()
    assert len(FeatureStore.open(store)) == len(toy_corpus.recordings)


OPTIONS = {
    "meta_perser.pretrain": "--batch_size 13 --head_size 8 --adaptation_steps 1 --scope top_layers:1",
    "meta_perser.train": "--scope head --inner.steps 2 --inner.support 4 --inner.adaptation_steps 2 "
    "--outer.batch_size 3 --outer.validate_every 4 --outer.steps 14",
    "speechlm_icl.train": "--pairs 3 --batch_size 5 --projector_steps 4 --steps 12 --validate_every 4 "
    "--projector.width 16 --validation_sequences 3",
}
"""Options of which two processes get unequal shares."""


@pytest.fixture
def command(toy_corpus, toy_episodes_path, tmp_path) -> Callable[[str], list[str]]:
    """A function that returns a training's command for two processes, but for its output folder."""

    def make(module: str) -> list[str]:
        options = [f"--corpus={toy_corpus.folder}", f"--episodes={toy_episodes_path}"]
        options += [f"--cache={tmp_path / 'cache'}", "--run.checkpoint_seconds=0"]
        if module == "meta_perser.train":
            first, ssl_e = "meta_perser.pretrain", tmp_path / "ssl-e"
            words = [*options, f"--out={ssl_e}", *OPTIONS[first].split(), "--epochs=1"]
            subprocess.run([sys.executable, "-m", first, *words], env=os.environ | ENVIRONMENT, check=True)
            options.append(f"--ssl_e={ssl_e}")
        if module == "meta_perser.pretrain":
            options.append("--epochs=3")
        return [sys.executable, *TORCHRUN, "-m", module, *options, *OPTIONS[module].split()]

    return make


def start_and_wait(
    words: list[str], out: Path, environment: dict[str, str]
) -> tuple[subprocess.Popen, list[int]]:
    """Start a training; when six steps are logged, return the launcher and the ids of its processes."""
    launcher = subprocess.Popen([*words, f"--out={out}"], env=environment)
    log = out.with_name(f"{out.name}-running") / "metrics.jsonl"
    while launcher.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < 6):
        time.sleep(0.002)
    workers = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
    return launcher, list(map(int, workers.split()))


@pytest.mark.soak
@pytest.mark.parametrize("sharding", SHARDING)
@pytest.mark.parametrize("module", OPTIONS)
def test_two_killed_processes_resume_and_end_as_if_never_killed(module, sharding, command, tmp_path):
    """The weights are the same bit for bit. The kill comes at a random moment."""
    words, out, undisturbed = command(module), tmp_path / "out", tmp_path / "undisturbed"
    environment = os.environ | ENVIRONMENT | SHARDING[sharding]
    subprocess.run([*words, f"--out={undisturbed}"], env=environment, check=True, timeout=300)
    launcher, workers = start_and_wait(words, out, environment)
    for process in workers:
        os.kill(process, signal.SIGKILL)
    assert launcher.wait(timeout=60) != 0
    subprocess.run([*words, f"--out={out}"], env=environment, check=True, timeout=300)
    weights = sorted(path.relative_to(out) for path in out.rglob("*.safetensors"))
    assert weights
    for path in weights:
        assert (out / path).read_bytes() == (undisturbed / path).read_bytes(), path
    assert logged_lines(out) == logged_lines(undisturbed)
    assert len((out / "environment.jsonl").read_text().splitlines()) == 2, "it did not resume"


@pytest.mark.soak
@pytest.mark.parametrize("sharding", SHARDING)
def test_sigterm_to_launcher_and_processes_finishes_the_step_and_saves(sharding, command, tmp_path):
    """A cluster signals every process of a job, and the launcher signals its own processes again."""
    words, out = command("speechlm_icl.train"), tmp_path / "out"
    environment = os.environ | ENVIRONMENT | SHARDING[sharding]
    words += ["--run.checkpoint_seconds=1000", "--steps=4000"]
    launcher, workers = start_and_wait(words, out, environment)
    for process in (*workers, launcher.pid):
        os.kill(process, signal.SIGTERM)
    assert launcher.wait(timeout=60) != 0
    running = tmp_path / "out-running"
    last = logged_lines(running)[-1]["step"]
    assert f"stopped after step {last} of meta-training" in (running / "log.txt").read_text()
    assert list((running / "checkpoints").glob(f"*-step-{last}"))


def logged_lines(folder: Path) -> list[dict]:
    """Return the lines of metrics.jsonl without their seconds."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
