"""Find out what a trained model has met."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perser.corpora.content import Content, load_contents
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError


def contents_of_training(folder: Path, digest: str | None) -> Sequence[Content] | None:
    """Return what the model in a folder was trained on, None where that cannot be known.

    Its own `trained_on.json` says it. Models of version 0.1.0 have none: where such a model is still in the
    run that trained it (RUN/models/NAME), the run's corpus and episodes say it.

    Args:
        folder: The model's folder.
        digest: `EpisodeFile.training_digest` of its training, as it was saved with the model.

    Raises UserError where `trained_on.json` is damaged.
    """
    saved = load_contents(folder)
    return _of_its_run(folder.resolve().parent.parent, digest) if saved is None else saved


def _of_its_run(run: Path, digest: str | None) -> Sequence[Content] | None:
    from perser.corpora.corpus import Corpus  # it imports torch, which a list of methods does not wait for

    places = (run, run.parent)  # a fold's models are in RUN/fold-N/models
    episodes = next((place for place in places if (place / "episodes.json").is_file()), None)
    corpus = next((place for place in places if (place / "corpus" / "corpus.json").is_file()), None)
    if episodes is None or corpus is None:
        return None
    try:
        drawn = EpisodeFile.load(episodes / "episodes.json")
        return drawn.trained_on(Corpus.load(corpus / "corpus")) if drawn.training_digest == digest else None
    except UserError:  # the run has been changed since
        return None
