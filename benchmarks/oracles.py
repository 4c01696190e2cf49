"""Oracles: methods that know the truth about simulated listeners, so that a table shows how much there is to
learn.

They need no model and hear no speech: they read what a prepared corpus says of its simulated listeners, and
of how often people hear each emotion in each utterance. A corpus of real listeners has no oracles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from perser.corpora.listeners.listener import Listener, mean_distribution
from perser.corpora.listeners.truth import ListenerTruth, load_truth
from perser.episodes.episode import Episode, Support
from perser.errors import UserError
from perser.installed_routes import parse_method
from perser.personalizer import Personalizer, RouteContext, refuse_pairs
from perser.route import Route

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus
    from perser.corpora.listing import CorpusReader

COMPANIONS = 100
"""At most so many listeners are averaged where only the bias is known."""


@dataclass(frozen=True)
class OracleContext(RouteContext):
    """What an oracle is built from. Other methods never get it."""

    truth: ListenerTruth | None = None
    persons: Mapping[Support, str] | None = None
    """Whose support it is."""


class OraclePredictor:
    """Answers with the mean response distribution of listeners who could be the person."""

    def __init__(self, truth: ListenerTruth, candidates: Sequence[Listener]) -> None:
        self._truth = truth
        self._candidates = candidates

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        shares = self._truth.shares_of(utterances)
        return mean_distribution(self._candidates, shares).astype(np.float32)


class OraclePersonalizer(Personalizer):
    """Knows everything about the person, or the bias alone."""

    route: ClassVar[str] = "trivial"

    def __init__(self, truth: ListenerTruth, persons: Mapping[Support, str], bias_alone: bool) -> None:
        self._truth = truth
        self._persons = persons
        self._bias_alone = bias_alone

    def personalize(self, support: Support) -> OraclePredictor:
        listeners = self._truth.listeners
        person = listeners[self._persons[support]]
        if not self._bias_alone:
            return OraclePredictor(self._truth, [person])
        others = [listener for listener in listeners.values() if listener is not person] or [person]
        companions = [replace(listener, bias=person.bias) for listener in others[:COMPANIONS]]
        return OraclePredictor(self._truth, companions)

    def describe(self) -> dict[str, object]:
        return {"knows": "the bias" if self._bias_alone else "everything"}


def oracle(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Oracle: knows everything about a simulated listener, and answers with their true probabilities.

    No method can have a lower log loss, but for chance.
    """
    return _oracle("oracle", context, pairs, bias_alone=False)


def oracle_bias(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Oracle of the bias: knows a simulated listener's bias, and takes the rest from the other listeners."""
    return _oracle("oracle-bias", context, pairs, bias_alone=True)


def is_oracle(method: str) -> bool:
    """Return whether a method's name is that of an oracle."""
    return parse_method(method).route is ROUTE


def oracle_context(context: RouteContext, corpus: Corpus, episodes: Sequence[Episode]) -> OracleContext:
    """Return the context with the truth about the listeners of these episodes."""
    known = {field.name: getattr(context, field.name) for field in fields(context)}
    persons = {episode.support: episode.person for episode in episodes}
    return OracleContext(**known, truth=check_truth(corpus, episodes), persons=persons)


def check_truth(corpus: Corpus, episodes: Sequence[Episode]) -> ListenerTruth:
    """Return the truth about the persons and utterances of episodes. Raises UserError where there is none."""
    truth = load_truth(corpus.folder, len(corpus.emotions))
    if truth is None:
        raise UserError(
            f"oracles know simulated listeners only, and {corpus.folder} says nothing of any: leave the "
            "methods oracle and oracle-bias out, or prepare a corpus with simulated listeners again"
        )
    for episode in episodes:
        if episode.person not in truth.listeners:
            raise UserError(
                f"oracles know listeners only, and {episode.person} is not a simulated listener of "
                f"{corpus.folder}: leave the methods oracle and oracle-bias out"
            )
        if missing := [name for name in episode.query_utterances if name not in truth.shares]:
            raise UserError(f"{corpus.folder} does not say how {missing[0]} is heard: prepare it again")
    return truth


def check_simulated(reader: CorpusReader, options: Mapping[str, object], scenario: str) -> None:
    """Raise UserError where an experiment's corpus is known to have no simulated listeners to test.

    `options` are those that the reader gets. Readers in other packages may have a truth of their own.
    """
    if scenario == "speaker":
        raise UserError(
            "oracles know listeners, not speakers: leave oracle and oracle-bias out of bench.methods"
        )
    module, listeners = reader.read.__module__, str(options.get("listeners", ""))
    simulated = module.endswith(".simulated") or listeners.startswith("simulated")
    if module.startswith("perser.corpora.readers.") and not simulated:
        raise UserError(
            "oracles know simulated listeners only: leave oracle and oracle-bias out of bench.methods, or "
            "give prepare.listeners: simulated:N"
        )


def _oracle(name: str, context: RouteContext, pairs: int | None, bias_alone: bool) -> Personalizer:
    refuse_pairs(name, pairs)
    if not isinstance(context, OracleContext) or context.truth is None or context.persons is None:
        raise UserError(f"{name} knows simulated listeners only: measure it with `perser bench`")
    return OraclePersonalizer(context.truth, context.persons, bias_alone)


ROUTE = Route("oracle", methods={"oracle": oracle, "oracle-bias": oracle_bias})
