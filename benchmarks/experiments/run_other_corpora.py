"""Prepare and draw the corpora in `test_on`, and check that the trained models can be measured on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.experiments.joined_corpora import KEY as CORPORA
from benchmarks.experiments.joined_corpora import JoinedCorpus
from benchmarks.experiments.other_corpora import KEY, OtherCorpus
from benchmarks.experiments.stages import Stages
from perser.corpora.listing import PersonAxis
from perser.errors import UserError, saying_where
from perser.labels import Emotions

if TYPE_CHECKING:
    from benchmarks.experiments.folds import Setting
    from benchmarks.experiments.plan import Plan
    from perser.corpora.content import Content


@dataclass(frozen=True)
class Known:
    """What is known of a corpus: its name, its emotions, its persons and, once prepared, its recordings."""

    name: str
    emotions: Emotions
    content: Content


def check_before_work(plan: Plan) -> None:
    """Raise UserError for corpora in `test_on` that do not go with the one that is trained on: no common
    emotion, or the same persons.

    Only tables are read. A corpus whose recordings are yet to be made is checked by `prepare_others`.
    """
    if not plan.others and not plan.joined:
        return
    trained = [_tables(corpus.source, corpus.prepare) for corpus in plan.joined] or [_listed(plan.prepare)]
    _check_joined(plan.joined, trained)
    listed = [tables for tables in trained if tables is not None]
    for other in plan.others:
        known = _tables(other.source, other.prepare)
        if known is not None and len(listed) == len(trained):
            _check_pair(listed, known, other)


def prepare_others(stages: Stages, plan: Plan) -> None:
    """Prepare the corpora in `test_on`, in the emotions of the trained models, and draw their episodes.

    Raises UserError as `check_before_work` does, also for the same recordings, and for one that is too
    small.
    """
    from perser.cli.prepare import prepare

    for other in plan.others:
        if other.prepare is not None:
            stages.run(_stage(other, "prepare"), prepare, dict(other.prepare), sources=("root",), alone=True)
    folders = [corpus.prepared for corpus in plan.joined] or [plan.corpus]
    trained = [_loaded(folder) for folder in folders] if plan.others else []
    seen: dict[str, str] = {}
    for other in plan.others:
        known = _loaded(other.prepared)
        _check_pair(trained, known, other)
        digest = " ".join(sorted(known.content.recordings))
        if digest in seen:
            raise UserError(f"{KEY}: {other.name} and {seen[digest]} are the same recordings: leave one out")
        seen[digest] = other.name
    names = _names(plan)
    for other in plan.others:
        _run_emotions(stages, plan, other, names[other.name])
        for setting in other.settings(plan.settings):
            draw_other(stages, plan, other, setting)


def draw_other(stages: Stages, plan: Plan, other: OtherCorpus, setting: Setting) -> None:
    """Draw the episodes of a corpus in a setting. Raises UserError that names it where it is too small."""
    from perser.cli.episodes import episodes

    fold = other.fold
    options = {
        "corpus": other.corpus,
        "split": fold.split,
        "k": setting.k,
        "q": other.q,
        "mode": setting.mode,
        "seeds": plan.draw["seeds"],
        "largest_k": max(each.k for each in other.settings(plan.settings)),
        "out": fold.episodes(setting),
    }
    try:
        stages.run(
            fold.stage("episodes", setting), episodes, options, after=(_stage(other, "emotions"),), alone=True
        )
    except UserError as error:
        raise UserError(f"{KEY} ({other.name}): {error}; `q` in its entry is for it alone") from error


def measure_others(stages: Stages, plan: Plan, trained: tuple[str, ...], again: bool) -> None:
    """Measure the models of the first fold, trained by these stages, on the corpora in `test_on`."""
    from benchmarks.measuring.measure import write_scores

    for other in plan.others:
        for setting in other.settings(plan.settings):
            stages.run(
                other.fold.stage("bench", setting),
                partial(write_scores, resume=not again, workers=plan.workers),
                {"case": plan.other_case(other, setting), "out": other.fold.scores(setting)},
                after=(other.fold.stage("episodes", setting), *trained),
                again=again,
            )


def write_for_test(source: Path, onto: Path, axis: PersonAxis, mapped: bool, name: str, out: Path) -> None:
    """Write a prepared corpus as it is measured by models that were trained on another one.

    Args:
        source: the prepared corpus.
        onto: the corpus that they were trained on.
        axis: who a person is.
        mapped: whether its emotions become those of that corpus; it keeps its own otherwise.
        name: what it is called in results.
        out: the folder to write.
    """
    from perser.corpora.corpus import Corpus
    from perser.corpora.derived import write_with_emotions

    corpus, trained = Corpus.load(source), Corpus.load(onto)
    write_with_emotions(corpus, trained.emotions if mapped else None, axis, out, name, trained.name)
    for note in Corpus.load(out).card["notes"]:
        print(f"  note: {note}")


def _run_emotions(stages: Stages, plan: Plan, other: OtherCorpus, name: str) -> None:
    split = other.fold.split
    options = {
        "source": other.prepared,
        "onto": plan.corpus,
        "axis": split.person_axis,
        "mapped": not split.is_open,
        "name": name,
        "out": other.corpus,
    }
    after = ("prepare",) if other.source is not None else ("prepare", _stage(other, "prepare"))
    sources = ("source",) if other.source is not None else ()
    stages.run(_stage(other, "emotions"), write_for_test, options, after=after, sources=sources, alone=True)


def _stage(other: OtherCorpus, name: str) -> str:
    return f"{other.fold.prefix}{name}"


def _names(plan: Plan) -> dict[str, str]:
    """Return what each corpus is called in results, by the name of its folder: no two alike."""
    from perser.corpora.corpus import Corpus

    own = {other.name: Corpus.load(other.prepared, check_files=False).name for other in plan.others}
    counts = Counter([*own.values(), Corpus.load(plan.corpus, check_files=False).name])
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in own.items()}


def _check_joined(joined: Sequence[JoinedCorpus], known: Sequence[Known | None]) -> None:
    """Raise UserError if two corpora that are joined have the same persons."""
    for (first, one), (second, other) in combinations(zip(joined, known, strict=False), 2):
        if one is not None and other is not None and (shared := one.content.shared_with(other.content)):
            raise UserError(
                f"{CORPORA}: {first.name} and {second.name} have {shared} in common: leave these out "
                "of one of them"
            )


def _check_pair(trained: Sequence[Known], known: Known, other: OtherCorpus) -> None:
    """Raise UserError if a corpus does not go with those that are trained on."""
    from perser.corpora.derived import check_common

    if not other.fold.split.is_open:
        emotions = tuple(dict.fromkeys(emotion for corpus in trained for emotion in corpus.emotions))
        with saying_where(KEY):
            check_common(other.name, known.emotions, "+".join(corpus.name for corpus in trained), emotions)
    for corpus in trained:
        if shared := known.content.shared_with(corpus.content):
            raise UserError(
                f"{KEY}: {other.name} has {shared} in common with {corpus.name}, which is trained on: "
                "measure on a corpus of other people, or leave these out of one of them"
            )


def _tables(source: Path | None, prepare: Mapping[str, Any] | None) -> Known | None:
    """Return what the tables of a corpus say, prepared or published; None where it has none yet."""
    if source is not None:
        return _loaded(source, with_audio=False)
    assert prepare is not None  # an entry has either
    return _listed(prepare)


def _loaded(folder: Path, with_audio: bool = True) -> Known:
    from perser.corpora.content import Content
    from perser.corpora.corpus import Corpus

    corpus = Corpus.load(folder, check_files=with_audio)
    if with_audio:
        content = Content.of_all(corpus)
    else:
        content = Content.of_persons(
            corpus.name,
            corpus.card.get("namespace", ""),
            (row.speaker for row in corpus.utterances.values()),
            (row.listener for row in corpus.annotations),
        )
    return Known(corpus.name, corpus.emotions.names, content)


def _listed(options: Mapping[str, Any]) -> Known | None:
    """Return what the published files of a corpus say; None where it is made by its reader."""
    from perser.cli.prepare import list_published
    from perser.corpora.content import Content

    listing = list_published(**{name: value for name, value in options.items() if name != "allow_skips"})
    if listing is None:
        return None
    content = Content.of_persons(
        listing.name,
        listing.namespace,
        {row.speaker for row in listing.utterances},
        {row.listener for row in listing.annotations},
    )
    return Known(listing.name, tuple(listing.emotions), content)
