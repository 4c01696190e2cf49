"""The ladder finds what listeners were generated with, and nothing where they are identical."""

import numpy as np
import torch

from benchmarks.ceiling.ladder import RUNGS, measure_ladder

DRAWS = 20
LISTENERS, UTTERANCES = 20, 120
NEUTRAL = 2


def true_gains(shares, probabilities):
    """Return what each rung could gain, if everything were known: shares, and probabilities of every answer.

    The expected log loss of each rung's best coefficients is found by torch's L-BFGS.
    """
    shares, probabilities = torch.tensor(shares), torch.tensor(probabilities)
    logs = shares.log() - shares.log().mean(dim=0)
    listeners, _, size = probabilities.shape
    elsewhere = torch.zeros_like(shares)
    elsewhere[:, NEUTRAL] = 1 - shares[:, NEUTRAL]
    losses = []
    for rung in range(len(RUNGS) + 1):
        shapes = [(size, size), (1, 1, 1), (listeners, 1, size), (listeners, 1, 1), (listeners, 1, 1)]
        shapes = [*shapes, (listeners, size, size)][: rung + 2]
        parameters = [torch.zeros(shape, dtype=torch.double, requires_grad=True) for shape in shapes]

        def expected_loss(parameters=parameters):
            matrix, temperature, *own = parameters
            bias, reliability, construal, confusion = [*own, *[torch.zeros(1, 1, 1)] * (4 - len(own))]
            logits = (1 + temperature + reliability) * logs + shares @ matrix + bias + construal * elsewhere
            if confusion.shape[-1] == size:
                logits = logits + shares @ confusion
            return -(probabilities * logits.log_softmax(-1)).sum(-1).mean()

        optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

        def closure(parameters=parameters, optimizer=optimizer, expected_loss=expected_loss):
            optimizer.zero_grad()
            loss = expected_loss() + 1e-6 * sum((parameter**2).sum() for parameter in parameters)
            loss.backward()
            return loss

        optimizer.step(closure)
        losses.append(expected_loss().item())
    return dict(zip(RUNGS, -np.diff(losses), strict=True))


def gains(result):
    return {rung["name"]: rung["gain"] for rung in result["ladder"]}


def test_a_known_bias_reliability_and_confusion_are_recovered(generate, make_answers):
    """An interval of 95% may miss. That it does in four of twenty draws has a probability below .02."""
    missed = []
    for seed in range(DRAWS):
        shares, probabilities, heard = generate(seed, LISTENERS, UTTERANCES, 0.7, 0.3, 0.8)
        truth = true_gains(shares, probabilities)
        found = gains(measure_ladder(make_answers(heard), sizes=()))
        names = ("bias", "reliability", "confusion")
        if not all(found[name]["low"] <= truth[name] <= found[name]["high"] for name in names):
            missed.append((seed, truth, found))
    assert len(missed) <= 3, missed


def test_nothing_is_found_of_identical_listeners(generate, make_answers):
    for seed in range(DRAWS):
        result = measure_ladder(make_answers(generate(seed, LISTENERS, UTTERANCES)[2]), sizes=())
        assert not any(rung["adds"] for rung in result["ladder"]), (seed, result["ladder"])
        assert all(gain["low"] <= 0 <= gain["high"] for gain in gains(result).values()), seed
        assert abs(result["total"]["mean"]) < 0.005, seed


def test_a_bias_alone_is_found_as_a_bias_and_more_labels_gain_more(generate, make_answers):
    _, _, heard = generate(1, LISTENERS, UTTERANCES, bias=0.9)
    result = measure_ladder(make_answers(heard), sizes=(4, 32, 512))
    assert [rung["name"] for rung in result["ladder"] if rung["adds"]] == ["bias"]
    few, many, none = result["curve"]
    assert few["listeners"] == many["listeners"] == LISTENERS
    assert few["total"]["mean"] < many["total"]["mean"] <= result["total"]["high"]
    assert none == {"k": 512, "listeners": 0, "gains": None, "total": None}


def test_extreme_listeners_with_many_labels_do_not_break_the_fit(generate, make_answers):
    """Fits that start far from their end must not diverge."""
    _, _, heard = generate(3, LISTENERS, 400, bias=2.5, reliability=0.5)
    bias, *others = gains(measure_ladder(make_answers(heard), sizes=())).values()
    assert bias["low"] > 0.1
    assert all(gain["mean"] > -0.005 for gain in others)


def test_the_same_answers_give_the_same_figures(generate, make_answers):
    answers = make_answers(generate(1, 4, 40, bias=0.9)[2])
    assert measure_ladder(answers, sizes=(4,)) == measure_ladder(answers, sizes=(4,))
