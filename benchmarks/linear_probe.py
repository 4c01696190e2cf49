"""python -m benchmarks.linear_probe --run runs/cremad_speakers

Score an ordinary classifier on the same split: logistic regression on the encoder's time-averaged hidden
states. A trained model should score higher than it does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import cached_features
from perser.episodes.episode import Task, aggregated_targets
from perser.episodes.episode_file import EpisodeFile
from perser.io.files import check_outputs
from perser.io.json_files import write_json
from perser.io.terminal import counted
from perser.labels import EmotionSet

REFERENCE = "reference.json"


def linear_probe(run: Path, cache: Path | None = None, regularization: float = 0.01) -> None:
    """Fit logistic regression on a finished experiment's training part and score its test part.

    Args:
        run: the folder that `perser experiment` wrote.
        cache: folder of the feature cache; none: in the run.
        regularization: scikit-learn's C.
    """
    corpus, episode_file = Corpus.load(run / "corpus"), EpisodeFile.load(run / "episodes.json")
    check_outputs(files={"run": run / REFERENCE}, folders={"cache": cache or run / "cache"})
    encoder = SpeechEncoder.from_name(str(run / "models" / "ssl-e" / "encoder"))
    features = cached_features(corpus.recordings, encoder, "pooled", cache or run / "cache")
    train = likeliest(episode_file.tasks(corpus, "train"), corpus.emotions)
    test = likeliest(episode_file.tasks(corpus, "test"), corpus.emotions)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=regularization, max_iter=500))
    model.fit(features.stack(list(train)).flatten(1).numpy(), list(train.values()))
    predicted = model.predict(features.stack(list(test)).flatten(1).numpy())
    labels = list(test.values())
    content = {
        "uar": float(recall_score(labels, predicted, average="macro")),
        "macro_f1": float(f1_score(labels, predicted, average="macro")),
        "utterances": len(test),
        "labels": "the emotion with the largest share over the test "
        + ("listeners" if episode_file.person_axis == "listener" else "speakers' own annotations"),
    }
    write_json(run / REFERENCE, content)
    print(
        f"UAR {content['uar']:.3f}, macro-F1 {content['macro_f1']:.3f} on {counted(len(test), 'utterance')}"
    )


def likeliest(tasks: list[Task], emotions: EmotionSet) -> dict[str, int]:
    """Return, by utterance id, the index of the emotion with the largest mean share over these persons."""
    targets = aggregated_targets(tasks, emotions)
    return {utterance: int(np.argmax(row)) for utterance, row in targets.items()}


if __name__ == "__main__":
    run_command(linear_probe)
