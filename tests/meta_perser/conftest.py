from __future__ import annotations

from pathlib import Path

import pytest

from meta_perser.options import InnerOptions, OuterOptions
from meta_perser.pretrain import pretrain
from meta_perser.train import meta_train
from perser.corpora.corpus import Corpus
from perser.personalizer import RouteContext


@pytest.fixture(scope="session")
def trained(toy_corpus: Corpus, toy_episodes_path: Path, tmp_path_factory) -> RouteContext:
    """SSL-E, Meta-PerSER and the baselines' models, trained for a few seconds on the toy corpus."""
    folder = tmp_path_factory.mktemp("trained")
    shared = {"corpus": toy_corpus.folder, "episodes": toy_episodes_path, "cache": folder / "cache"}
    models = folder / "models"
    pretrain(
        **shared,
        out=models / "ssl-e",
        encoder="tiny-whisper",
        epochs=40,
        batch_size=16,
        head_size=16,
        learning_rate=3e-3,
        adaptation_steps=6,
        lora="lora:2",
    )
    for target in ("linear", "multi"):
        pretrain(
            **shared,
            out=models / target,
            target=target,
            epochs=4,
            batch_size=16,
            head_size=16,
            learning_rate=3e-3,
            adaptation_steps=6,
        )
    meta_train(
        **shared,
        ssl_e=models / "ssl-e",
        out=models / "meta-perser",
        scope="head",
        inner=InnerOptions(steps=3, support=8, adaptation_steps=6),
        outer=OuterOptions(steps=20, batch_size=2, learning_rate=3e-3, validate_every=10),
    )
    return RouteContext(toy_corpus.emotions, toy_corpus.recordings, models, folder / "cache")


@pytest.fixture(scope="session")
def begun_from(trained, toy_corpus, toy_episodes_path) -> dict[str, Path]:
    """What a meta-training from the trained SSL-E reads."""
    ssl_e = trained.models / "ssl-e"
    inputs = {"corpus": toy_corpus.folder, "episodes": toy_episodes_path}
    return inputs | {"ssl_e": ssl_e, "cache": trained.cache}
