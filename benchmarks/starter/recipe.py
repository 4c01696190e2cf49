"""How the starter models are trained and measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.few_shot.__main__ import few_shot
from benchmarks.run import bench
from meta_perser.options import AnnealingOptions, InnerOptions, OuterOptions
from meta_perser.pretrain import pretrain
from meta_perser.train import meta_train
from perser.cli.episodes import episodes
from perser.cli.join import join
from perser.cli.prepare import prepare
from perser.corpora.corpus import Corpus
from perser.corpora.derived import ANYWHERE, known_recordings, write_derived
from perser.corpora.listing import Listing
from perser.episodes.splits import SplitOptions
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.train import icl_train

WORDS = {"anger": "angry", "sadness": "sad", "amusement": "happy", "elation": "happy"}
"""Kinds of bursts in EmoGator, and CREMA-D's words for them."""

SIX = ("angry", "disgust", "fear", "happy", "neutral", "sad")
"""The emotions of CREMA-D, among which both models answer without other labels."""

SPLIT = SplitOptions(scenario="speaker", folds=5, validation_persons=10, seed=2612)
"""A fifth of the speakers of each training corpus is tested."""

K, Q, SEED = 10, 10, 0
"""Enrolled clips, and queries: a person of EmoGator has 21 clips of the six emotions."""

SHOTS = "1,2,5"

PRETRAIN: Mapping[str, Any] = {
    "scope": "head",
    "epochs": 6,
    "batch_size": 64,
    "learning_rate": 0.001,
    "class_balanced": False,
    "logit_scale": True,
}

META = {
    "scope": "head",
    "csmt": False,
    "derivative_annealing": AnnealingOptions(by="off"),
    "inner": InnerOptions(solver="proximal", support=K, query=Q),
    "outer": OuterOptions(steps=160, batch_size=8, learning_rate=0.001, validate_every=20),
}

ICL = {
    "language_model": "tiny-llama",
    "projector": ProjectorOptions(feature_noise=1.5),
    "pairs": 48,
    "projector_steps": 400,
    "projector_learning_rate": 0.002,
    "projector_mixup": 1.0,
    "learning_rate": 0.00006,
    "language_learning_rate": 0.002,
    "permute_labels": 1.0,
    "permute_labels_end": 0.75,
    "label_subsets": 0.5,
    "most_labels": 8,
    "balanced_starts": 0.5,
    "standardize": "each",
    "matched": True,
    "steps": 400,
    "batch_size": 32,
    "validate_every": 100,
    "validation_sequences": 32,
}


@dataclass(frozen=True)
class Sources:
    """What the models are made from, and where.

    Args:
        cremad, emogator: The corpora as published.
        out: Folder of everything that is made.
        cache: Folder of the feature cache.
        encoder: Name or folder of the encoder.
    """

    cremad: Path
    emogator: Path
    out: Path
    cache: Path
    encoder: str

    @property
    def models(self) -> Path:
        return self.out / "models"

    def corpus(self, name: str) -> Path:
        return self.out / "corpora" / name / "corpus"

    def episodes(self, name: str) -> Path:
        return self.out / f"episodes-{name}.json"


def train(sources: Sources) -> None:
    """Prepare the corpora and train the models; what is finished stays."""
    _prepare(sources)
    models = sources.models
    shared = {"cache": sources.cache, "encoder": sources.encoder, "seed": SEED}
    six = {"corpus": sources.corpus("six"), "episodes": sources.episodes("six"), "cache": sources.cache}
    all_kinds = {"corpus": sources.corpus("all"), "episodes": sources.episodes("all")}
    _once(models / "ssl-e", pretrain, **six, **PRETRAIN, encoder=sources.encoder, seed=SEED)
    _once(models / "meta-perser", meta_train, **six, **META, ssl_e=models / "ssl-e", seed=SEED)
    _once(models / "speech-lm", icl_train, **all_kinds, **ICL, **shared)


def measure(sources: Sources, packed: Path, others: Sequence[Path]) -> dict[str, Any]:
    """Return what the packed models can do, for speakers whom neither of them met.

    `few_shot`: how well labels are learned from a few clips, by corpus: CREMA-D and the `others`.
    `recognition`: how well the first model tells the six emotions apart, before and after K clips.
    """
    few: dict[str, Any] = {}
    for corpus in (sources.corpus("cremad"), *others):
        name = Corpus.load(corpus, check_files=False).name
        file = sources.out / "figures" / f"{name}.json"
        few_shot(corpus, str(packed), file, shots=SHOTS, cache=sources.cache, draws=2, asked=100)
        content = json.loads(file.read_text(encoding="utf-8"))
        few[name] = {key: content[key] for key in ("emotions", "labels", "standardize", "shots", "settings")}
    results = sources.out / "figures" / "recognition"
    bench(
        corpus=sources.corpus("six"),
        episodes=sources.episodes("six"),
        models=sources.models,
        out=results,
        cache=sources.cache,
        methods=["entire-zero", "meta-perser"],
    )
    rows = json.loads((results / "results.json").read_text(encoding="utf-8"))["rows"]
    metrics = ("log_loss", "maF1", "label_accuracy", "balanced_accuracy")
    recognition = {row["method"]: {name: row["metrics"][name]["mean"] for name in metrics} for row in rows}
    return {"few_shot": few, "recognition": recognition, "persons": max(row["persons"] for row in rows)}


def _prepare(sources: Sources) -> None:
    """Prepare CREMA-D as it was acted, and EmoGator: all kinds, and those that are one of the six."""
    cremad, emogator, six = map(sources.corpus, ("cremad", "emogator", "emogator-six"))
    _once(cremad, prepare, corpus="cremad", root=sources.cremad, listeners="intended")
    _once(emogator, prepare, corpus="manifest", root=sources.emogator / "manifest.csv")
    _once(six, _write_six, source=emogator)
    for name, own in (("all", emogator), ("six", six)):
        _once(sources.corpus(name), join, corpora=[cremad, own])
        corpus = sources.corpus(name)
        _once(sources.episodes(name), episodes, corpus=corpus, split=SPLIT, k=K, q=Q, seeds=1)


def _once(out: Path, function: Callable[..., None], **options: Any) -> None:
    """Call a function that writes `out`, unless that is there."""
    if not out.exists():
        function(out=out, **options)


def _write_six(source: Path, out: Path) -> None:
    """Write the clips of EmoGator that are one of the six emotions, in CREMA-D's words."""
    corpus = Corpus.load(source)
    annotations = [
        replace(row, emotions=(WORDS.get(row.emotions[0], row.emotions[0]),)) for row in corpus.annotations
    ]
    kept = [row for row in annotations if row.emotions[0] in SIX]
    rows = {row.utterance_id: corpus.utterances[row.utterance_id] for row in kept}
    card = corpus.card
    listing = Listing(
        "emogator", SIX, ANYWHERE, [], kept, card["source"], card["license"], notes=list(card["notes"])
    )
    write_derived(listing, known_recordings(corpus, rows), out)
