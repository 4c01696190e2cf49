"""Clips with the labels that a person gives them, as they are written and in one form."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor

from perser.audio import BadAudio, load_audio
from perser.errors import UserError, saying_where
from perser.inference.clips import Clip, Waveforms, check_repeats, name_of
from perser.io.listed_paths import named_path
from perser.labels import (
    Emotions,
    EmotionSet,
    LabeledFile,
    check_open_label,
    open_labels,
    parse_emotions,
    split_words,
)
from perser.route import OtherRouteModel, RouteModel

LabeledClip = tuple[Clip, str | Sequence[str]]
"""A clip and the emotions that the person heard in it: one, several, or several in one text separated by
`;`."""


def labels_in(example: LabeledClip, number: int) -> Emotions:
    """Return the emotions of a labeled clip as they are written. Raises UserError for something else."""
    if isinstance(example, tuple | list) and len(example) == 2:
        texts = [example[1]] if isinstance(example[1], str) else example[1]
        if isinstance(texts, Iterable) and all(isinstance(text, str) for text in texts):
            return tuple(word for text in texts for word in split_words(text))
    raise UserError(f"cannot enroll example {number}: give a pair of a clip and its emotions")


def spelled_labels(examples: Sequence[LabeledClip]) -> tuple[list[LabeledClip], list[Emotions]]:
    """Return the examples as a list, and their labels as spelled. Raises UserError for none."""
    examples = list(examples)
    if not examples:
        raise UserError("nothing to enroll: give at least one clip with its emotions")
    return examples, [labels_in(example, number) for number, example in enumerate(examples, start=1)]


def read_labeled(
    examples: Sequence[LabeledClip],
    spelled: Sequence[Emotions],
    emotions: EmotionSet,
    names: Sequence[str] | None = None,
) -> tuple[tuple[str, ...], tuple[Emotions, ...], Waveforms]:
    """Return the names of clips to enroll, their labels, and their waveforms; see `Recognizer.enroll`."""
    labels = in_one_form(spelled)
    if names is None:
        check_repeats([(clip, words) for (clip, _), words in zip(examples, labels, strict=True)])
        names = [name_of(clip, number) for number, (clip, _) in enumerate(examples, start=1)]
    check_emotions(names, labels, emotions)  # before anything is read
    waveforms: dict[str, Tensor] = {}
    for name, (clip, _) in zip(names, examples, strict=True):
        try:
            waveforms[name] = load_audio(clip)
        except BadAudio as error:
            raise UserError(f"cannot enroll {name}: {error}") from error
    _check_same(waveforms, dict(zip(names, labels, strict=True)))
    return tuple(names), labels, Waveforms(waveforms)


def _check_same(waveforms: Mapping[str, Tensor], labels: Mapping[str, Emotions]) -> None:
    """Raise UserError for a recording that is there twice, sample for sample, with different labels."""
    met: dict[bytes, str] = {}
    for name, waveform in waveforms.items():
        first = met.setdefault(hashlib.sha256(waveform.numpy().tobytes()).digest(), name)
        if set(labels[first]) != set(labels[name]):
            raise UserError(
                f"{first} ({', '.join(labels[first])}) and {name} ({', '.join(labels[name])}) are the same "
                "recording: leave one out, or give it both emotions, separated by ; in a table"
            )


def parse_example(text: str, as_spelled: bool = False) -> LabeledFile:
    """Parse a labeled clip such as `a.wav=happy,excited`, whose words keep their capitals if `as_spelled`.
    Raises UserError for a text of another form."""
    path, equals, words = text.rpartition("=")
    emotions = split_words(words) if as_spelled else parse_emotions(words)
    if not equals or not path or not emotions:
        raise UserError(f"enroll: '{text}' is not of the form clip.wav=emotion or clip.wav=emotion,emotion")
    clip = named_path(path if os.path.lexists(path) else path.strip())
    return LabeledFile(clip, emotions, f"enroll: '{text}'")


def in_one_form(spelled: Sequence[Emotions]) -> tuple[Emotions, ...]:
    """Return each clip's labels in lower case without repetitions."""
    return tuple(parse_emotions(";".join(words)) for words in spelled)


def check_emotions(names: Sequence[str], labels: Sequence[Emotions], known: EmotionSet) -> None:
    """Raise UserError, which names the clip, for one with no emotion or one that is not known."""
    for name, words in zip(names, labels, strict=True):
        with saying_where(f"cannot enroll {name}"):
            known.multi_hot([words])


def check_known_labels(examples: Sequence[LabeledFile], known: EmotionSet) -> None:
    """Raise UserError, which says where it is written, for a word that is none of the known emotions."""
    _check_words(examples, lambda word: known.index(word.lower()))


def and_other(labels: EmotionSet, model: RouteModel) -> EmotionSet:
    """Return labels of a person's own and that for none of them. Raises UserError if the model lacks it."""
    label = model.other_label if isinstance(model, OtherRouteModel) else None
    if label is None:
        raise UserError(
            f"other: this model of the route {model.route} was not trained to answer that a clip has none of "
            "the labels: leave it out, or train a speech LM with --other_answers"
        )
    return labels if label in labels.names else EmotionSet((*labels.names, label))


def check_open_labels(examples: Sequence[LabeledFile]) -> None:
    """Raise UserError where the words of labeled clips, as they are spelled, cannot be labels of a person's
    own (`perser.labels.open_labels`). It says where a word is written that cannot be one."""
    _check_words(examples, check_open_label)
    open_labels(word for example in examples for word in example.emotions)


def _check_words(examples: Sequence[LabeledFile], check: Callable[[str], object]) -> None:
    for example in examples:
        with saying_where(example.place):
            for word in example.emotions:
                check(word)
