"""Prior-Shift and Bias-Scale from a table of SSL-E's probabilities equal those of SSL-E itself."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.measuring.cells import Case
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[::2], r"has no row for s\d-\w+-\d \(and \d+ more\): add one for each clip"),
        (
            lambda lines: [*lines[:3], "0.5,0.5,x.wav,0.5,0.5", *lines[3:]],
            "line 4: the probabilities sum to 2",
        ),
        (lambda lines: [*lines[:3], "nan,0.5,x.wav,0.5,0", *lines[3:]], "line 4: sad is 'nan', no number"),
        (
            lambda lines: [lines[0].replace("hap", "fear"), *lines[1:]],
            "has the emotions .*, and not angry, hap",
        ),
    ],
)
def test_a_table_is_checked_before_anything_is_measured(
    context, toy_corpus, toy_episodes_path, tmp_path, change, said
):
    (tmp_path / "probabilities").mkdir()
    (tmp_path / "ssl-e").symlink_to(context.models / "ssl-e")
    lines = (context.models / "probabilities" / "ssl-e.csv").read_text().splitlines()
    case = Case(
        toy_corpus.folder,
        toy_episodes_path,
        tmp_path,
        context.cache,
        ("random", "entire-zero", "probabilities+prior-shift"),
    )
    table = tmp_path / "probabilities" / "table.csv"
    table.write_text("\n".join(lines))
    case.check_models()
    table.write_text("\n".join(change(lines)))
    with pytest.raises(UserError, match=said):
        case.check_models()
