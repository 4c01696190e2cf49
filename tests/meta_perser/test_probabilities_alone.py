"""Prior-Shift and Bias-Scale from a table of SSL-E's probabilities equal those of SSL-E itself."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from perser.episodes.episode import Support
from perser.errors import UserError
from perser.installed_routes import build_method, check_models


@pytest.fixture(scope="module")
def context(trained, toy_episodes, tmp_path_factory):
    """The trained models, with a table of what SSL-E says of all utterances beside them."""
    models = tmp_path_factory.mktemp("with-table")
    (models / "ssl-e").symlink_to(trained.models / "ssl-e")
    both = replace(trained, models=models, validation=lambda: toy_episodes.validation_episodes)
    plain = build_method("entire-zero", both).personalize(Support((), (), seed=0))
    utterances = both.recordings.utterance_ids
    (models / "probabilities").mkdir()
    with (models / "probabilities" / "ssl-e.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sad", "neutral", "path", "hap", "Anger"])  # another order, and other names
        for name, row in zip(utterances, plain.predict_proba(utterances), strict=True):
            angry, happy, neutral, sad = map(repr, row.tolist())
            writer.writerow([sad, neutral, f"{name}.wav", happy, angry])
    return both


@pytest.mark.parametrize("kind", ["prior-shift", "bias-scale"])
def test_a_person_is_learned_as_from_the_model(context, toy_episodes, kind):
    from_table = build_method(f"probabilities+{kind}", context)
    from_model = build_method(f"entire-zero+{kind}", context)
    of_route = build_method(kind, context)
    for episode in toy_episodes.episodes[:4]:
        table, model, route = (
            method.personalize(episode.support).predict_proba(episode.query_utterances)
            for method in (from_table, from_model, of_route)
        )
        np.testing.assert_allclose(table, model, atol=1e-6)
        np.testing.assert_allclose(table, route, atol=1e-6)
        assert np.abs(
            table - build_method("probabilities", context).predict_support(episode.support)[:1]
        ).max()


def test_a_missing_row_and_a_missing_table_are_named(context, tmp_path):
    predictor = build_method("probabilities", context)
    with pytest.raises(UserError, match=r"has no row for nobody \(and 1 more\): add one for each clip"):
        predictor.personalize(Support((), (), seed=0)).predict_proba(["nobody", "nobody-else"])
    with pytest.raises(UserError, match=r"needs one table of probabilities \(there is none\)"):
        check_models(["probabilities"], replace(context, models=tmp_path))
    with pytest.raises(UserError, match="needs one table of probabilities"):
        check_models(["probabilities:other+prior-shift"], context)
