from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from meta_perser.adaptation.open_head import prototype_head
from meta_perser.baselines import head_few, meta_perser
from perser.episodes.episode import Support
from perser.labels import EmotionSet


@pytest.fixture
def clips():
    """Hidden vectors of nine clips of three labels, and one-hot targets."""
    torch.manual_seed(0)
    targets = torch.eye(3).repeat(3, 1)
    return 3 + torch.randn(9, 5) + targets @ torch.randn(3, 5), targets


def logits(head, hidden):
    return hidden @ head["classifier.weight"].T + head["classifier.bias"]


def test_a_prototype_head_ranks_labels_by_the_distance_to_their_means(clips):
    hidden, targets = clips
    head = prototype_head(hidden, targets, nn.Linear(5, 4))
    queries = 3 + 2 * torch.randn(50, 5)
    means = torch.stack([hidden[targets[:, label] == 1].mean(dim=0) for label in range(3)])
    distances = torch.cdist(queries, means) ** 2
    own = logits(head, queries)
    assert torch.equal(own.argsort(dim=1, descending=True), distances.argsort(dim=1))
    differences = own - own[:, :1]
    scale = differences[0, 1] / (distances[0, 0] - distances[0, 1])
    torch.testing.assert_close(differences, scale * (distances[:, :1] - distances), rtol=1e-3, atol=1e-4)


def test_its_logits_are_as_far_apart_as_those_of_the_trained_head(clips):
    hidden, targets = clips
    trained = nn.Linear(5, 4)
    spread = [
        (each - each.mean(dim=1, keepdim=True)).square().mean().sqrt()
        for each in (trained(hidden), logits(prototype_head(hidden, targets, trained), hidden))
    ]
    torch.testing.assert_close(spread[0], spread[1])


def test_a_label_without_clips_is_never_the_likeliest_of_the_enrolled(clips):
    hidden, targets = clips
    wider = torch.cat([targets, torch.zeros(9, 1)], dim=1)
    own = logits(prototype_head(hidden, wider, nn.Linear(5, 4)), hidden)
    assert own.isfinite().all()
    assert not (own.argmax(dim=1) == 3).any()


def test_identical_clips_give_a_finite_head(clips):
    _, targets = clips
    head = prototype_head(torch.ones(9, 5), targets, nn.Linear(5, 4))
    assert all(weight.isfinite().all() for weight in head.values())


@pytest.fixture
def question(toy_corpus, toy_episodes):
    """Eight clips of two pitches that have been called by new words, and the other clips of these pitches."""
    words = {"angry": "blicket", "sad": "dax"}
    names = [name for name in toy_corpus.utterances if name.split("-")[1] in words]
    order = np.random.default_rng(0).permutation(names).tolist()
    said = [words[name.split("-")[1]] for name in order]
    return Support(tuple(order[:8]), tuple((word,) for word in said[:8]), 0), order[8:], said[8:]


@pytest.mark.parametrize("method", [meta_perser, head_few])
def test_new_words_are_learned_from_a_few_clips(method, trained, question):
    support, queries, answers = question
    personalizer = method(trained)
    before = {name: value.clone() for name, value in personalizer.model.state_dict().items()}
    opened = personalizer.with_labels(EmotionSet(("blicket", "dax")))
    probabilities = opened.personalize(support).predict_proba(queries)
    assert probabilities.shape == (len(queries), 2)
    right = np.array([("blicket", "dax")[place] for place in probabilities.argmax(axis=1)]) == answers
    assert right.mean() > 0.8
    assert opened.describe()["start"] == "prototypes"
    assert personalizer.model.emotions != opened.model.emotions
    after = personalizer.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "the model is unchanged"


def test_several_persons_at_once_get_the_answers_of_each_alone(trained, question):
    support, queries, _ = question
    opened = meta_perser(trained).with_labels(EmotionSet(("blicket", "dax")))
    supports = [support, support.ordered([7, 6, 5, 4, 3, 2, 1, 0])]
    together = [each.predict_proba(queries) for each in opened.personalize_many(supports)]
    alone = [opened.personalize(each).predict_proba(queries) for each in supports]
    np.testing.assert_allclose(together, alone, atol=1e-4)
