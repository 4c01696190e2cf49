"""Run every training for a few steps on a tiny corpus of noise, stop and resume one, measure, and predict."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.gpu.findings import Check, Seen, Settings, require
from benchmarks.gpu.tiny_models import EMOTIONS
from benchmarks.speed.corpus_size import write_manifest
from benchmarks.speed.speechlm.prompt_case import write_language_model
from benchmarks.speed.speechlm.prompt_presets import PROMPT_PRESETS
from meta_perser.options import InnerOptions, Memory, OuterOptions
from meta_perser.pretrain import pretrain
from meta_perser.train import meta_train
from perser.corpora.corpus import Corpus
from perser.episodes.draw import draw_episodes
from perser.episodes.splits import SplitOptions
from perser.training.run_folder import running_folder
from perser.training.run_log import ENVIRONMENT, METRICS
from perser.training.stop_signal import EXIT_STATUS
from speechlm_icl.model.base_model import BaseWeights
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions
from speechlm_icl.train import icl_train

UTTERANCES, ANNOTATIONS = 64, 640

K, Q, SEEDS = 4, 8, 2

SCOPES = ("all", "head", "lora:2")

CELLS = 10

METHODS = ("random", "entire-zero", "head-few", "meta-perser", "speech-lm-4")
"""Methods of `perser bench`: with two seeds each, ten cells."""

LINES_BEFORE_SIGNAL = 3
"""Steps that are logged before the training that is stopped gets SIGTERM."""


def checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of this part; each needs those before it."""
    place = Workplace(settings.folder, settings.device)
    yield "corpus and episodes", place.prepare
    yield "pretrain", place.pretrain
    for scope in SCOPES:
        for memory in ("unroll", "adjoint"):
            yield f"meta-train, scope {scope}, {memory}", partial(place.meta_train, scope, memory)
    yield "meta-train, bf16", partial(place.meta_train, "all", "unroll", "bf16")
    yield "icl-train, tiny-llama", place.icl_train
    yield "icl-train, LoRA", partial(place.icl_train_lora, "float32")
    yield "icl-train, LoRA, bf16", partial(place.icl_train_lora, "bfloat16")
    yield "icl-train, LoRA, 4-bit", partial(place.icl_train_lora, "4bit")
    yield "resume after SIGTERM", place.resume
    yield f"perser bench, {CELLS} cells", place.bench
    yield "perser predict", place.predict


@dataclass(frozen=True)
class Workplace:
    """A folder with a tiny corpus, and the models that are trained on it."""

    folder: Path
    device: str

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def inputs(self) -> dict[str, Any]:
        """What every training reads."""
        names = {"corpus": "corpus", "episodes": "episodes.json", "cache": "cache"}
        return {option: self.folder / name for option, name in names.items()}

    def prepare(self) -> Seen:
        """Write a corpus of noise with random labels, and draw episodes."""
        from perser.cli.prepare import prepare

        write_manifest(self.folder / "in", UTTERANCES, ANNOTATIONS)
        with contextlib.redirect_stdout(io.StringIO()):
            prepare("manifest", self.inputs["corpus"], self.folder / "in" / "manifest.csv")
        split = SplitOptions(scenario="seen", validation_persons=2)
        corpus = Corpus.load(self.inputs["corpus"])
        episodes = draw_episodes(corpus, split, K, Q, SEEDS)
        episodes.save(self.inputs["episodes"])
        return Seen(f"{len(corpus.recordings)} clips, {len(episodes.episodes)} episodes")

    def pretrain(self) -> Seen:
        """Train SSL-E."""
        out = self.models / "ssl-e"
        pretrain(
            **self.inputs,
            out=out,
            epochs=2,
            batch_size=16,
            learning_rate=1e-4,
            head_size=16,
            adaptation_steps=2,
        )
        return self._trained(out)

    def meta_train(
        self, scope: str, memory: Memory, mixed_precision: Literal["no", "bf16"] = "no", steps: int = 2
    ) -> Seen:
        """Meta-train from SSL-E. The model of scope head is the one that is measured."""
        is_measured = (scope, memory, mixed_precision) == ("head", "unroll", "no") and steps == 2
        name = "meta-perser" if is_measured else f"meta-{scope}-{memory}-{mixed_precision}-{steps}"
        out = self.models / name.replace(":", "-")
        meta_train(
            **self.inputs,
            ssl_e=self.models / "ssl-e",
            out=out,
            scope=scope,
            inner=InnerOptions(steps=2, support=K, rate=1e-4, adaptation_steps=2, memory=memory),
            outer=OuterOptions(steps=steps, batch_size=2, validate_every=steps),
            mixed_precision=mixed_precision,
        )
        return self._trained(out)

    def icl_train(self) -> Seen:
        """Train the projector and all of tiny-llama; this is the speech LM that is measured."""
        return self._icl_train("speech-lm", "tiny-llama", "float32")

    def icl_train_lora(self, weights: BaseWeights) -> Seen:
        """Train the projector, and an adapter on a small frozen Llama."""
        if weights == "4bit":
            require("bitsandbytes")
        llama = self.folder / "llama"
        if not llama.exists():
            texts = PromptOptions().texts(EMOTIONS)
            write_language_model(PROMPT_PRESETS["tiny"], texts, llama)
        return self._icl_train(f"speech-lm-{weights}", str(llama), weights)

    def _icl_train(self, name: str, language_model: str, weights: BaseWeights) -> Seen:
        out = self.models / name
        icl_train(
            **self.inputs,
            out=out,
            language_model=language_model,
            lora=LoraOptions(r=2, base_weights=weights),
            projector=ProjectorOptions(width=16),
            pairs=K,
            batch_size=4,
            steps=2,
            validate_every=2,
            validation_sequences=2,
            mixed_precision="bf16" if weights in ("bfloat16", "4bit") else "no",
        )
        return self._trained(out)

    def _trained(self, out: Path) -> Seen:
        """Say how a training went; it failed if a loss is not finite, or if it ran on another device."""
        lines = _steps(out)
        losses = [math.nan if line["loss"] is None else line["loss"] for line in lines]
        device = _json_lines(out / ENVIRONMENT)[-1]["device"]
        is_right = self.device == "cpu" or device == torch.cuda.get_device_name()
        passed = is_right and all(map(math.isfinite, losses))
        text = f"{len(losses)} steps on {device}, loss {losses[0]:.3g} to {losses[-1]:.3g}"
        return Seen(text, {"seconds": lines[-1]["seconds"]}, passed)

    def resume(self) -> Seen:
        """Stop a training by SIGTERM, and start it again: it has to go on, not begin anew."""
        train = partial(self.meta_train, "head", "unroll", steps=40)
        out = self.models / "meta-head-unroll-no-40"
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a late signal must not end this process
        sender = threading.Thread(target=_send_sigterm, args=(running_folder(out) / METRICS,), daemon=True)
        sender.start()
        try:
            status: object = "that of an undisturbed one"
            try:
                train()
            except SystemExit as stop:
                status = stop.code
            stopped = len(_json_lines(running_folder(out) / METRICS)) if status == EXIT_STATUS else 0
            train()
        finally:
            signal.signal(signal.SIGTERM, before)
        starts = len(_json_lines(out / ENVIRONMENT))
        steps = [line["step"] for line in _steps(out)]
        passed = status == EXIT_STATUS and starts == 2 and steps == list(range(1, 41))
        return Seen(f"exit status {status} after step {stopped}, then to step {steps[-1]}", passed=passed)

    def bench(self) -> Seen:
        """Measure methods of both routes."""
        from benchmarks.run import bench

        out = self.folder / "bench"
        with contextlib.redirect_stdout(io.StringIO()):
            bench(**self.inputs, models=self.models, out=out, methods=list(METHODS))
        cells = len([*out.rglob("seed-*.parquet")])
        seen = f"{cells} cells, a report of {(out / 'report.md').stat().st_size} bytes"
        return Seen(seen, passed=cells == CELLS)

    def predict(self) -> Seen:
        """Ask the models of both routes about a clip, after an enrollment of two."""
        require("jsonargparse")
        from perser.cli.main import main

        first, second, clip = (str(self.folder / "in" / f"{number}.wav") for number in range(3))
        enrolled = ["--enroll", f"{first}=angry", f"{second}=sad", "--", clip]
        confidence = []
        for name in ("meta-perser", "speech-lm"):
            words = ["predict", "--model", str(self.models / name), "--json", *enrolled]
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                main(words)
            (answer,) = json.loads(printed.getvalue())
            confidence.append(answer["confidence"])
        return Seen("answers with confidence " + " and ".join(f"{value:.2g}" for value in confidence))


def _send_sigterm(log: Path) -> None:
    """Send SIGTERM to this process once some steps are logged."""
    for _ in range(6_000):
        if log.exists() and log.read_bytes().count(b"\n") >= LINES_BEFORE_SIGNAL:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(0.005)


def _steps(out: Path) -> list[dict[str, Any]]:
    """Return the logged steps of a training, without a validation before the first."""
    return [line for line in _json_lines(out / METRICS) if "loss" in line]


def _json_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
