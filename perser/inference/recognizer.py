"""From a person's few labeled clips to their own recognizer, with a trained model of either route:

    recognizer = Recognizer.from_pretrained("runs/quickstart/models/speech-lm")
    personal = recognizer.enroll([("a.wav", "angry"), ("b.wav", ("happy", "excited"))])
    for prediction in personal.predict(["new.wav"]):
        print(prediction.path, prediction.labels, prediction.probabilities)
    personal.save("alice.profile")
    personal = PersonalRecognizer.load("alice.profile")

The answers are those that the same method gives in `perser bench` after the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Self

import numpy as np
from torch import Tensor

from perser.audio import BadAudio
from perser.distributed import compute_device
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.inference.clips import Clip, Failure, Waveforms, name_of, stream_clips, waveform_of
from perser.inference.profile import Enrolled, Profile
from perser.installed_routes import load_route_model
from perser.io.hub import is_hub_name, trained_model_folder
from perser.labels import Emotions, EmotionSet, decide, parse_emotions
from perser.route import RouteModel, RoutePredictor

Example = tuple[Clip, str | Sequence[str]]
"""A clip, and what the person heard in it: one emotion, several, or several in one text with `;` between."""


@dataclass(frozen=True)
class Answer:
    """What a recognizer says of one clip.

    Args:
        probabilities: By emotion, in the model's order; they sum to 1.
        labels: The emotions whose probability is above 1/C, for C emotions; none where all are alike.
        confidence: 1 - H(p) / log C for the probabilities' entropy H: 0 where all emotions are alike, 1 where
            one is certain.
    """

    probabilities: dict[str, float]
    labels: Emotions
    confidence: float


@dataclass(frozen=True)
class Prediction(Answer):
    """The answer about one clip.

    Args:
        path: The clip's as it was given, or `clip 3`, counted from 1, for samples.
        unadapted: What the same model answers without any enrollment; None where there was none anyway.
    """

    path: str
    unadapted: Answer | None = None


class Recognizer:
    """A trained model, nobody's yet: it answers as it is, or after `enroll` as one person would.

    Args:
        model: Of one of the routes.
        name: Where it lies: its folder, or its name on the Hub.
    """

    def __init__(self, model: RouteModel, name: str) -> None:
        self.model = model
        self.name = name
        self.predictor: RoutePredictor = model.predictor({}, ())

    @classmethod
    def from_pretrained(cls, name: str | PathLike[str], device: str | None = None) -> Self:
        """The model that `perser pretrain`, `meta-train`, `icl-train` or `export` wrote to this folder, such
        as one of those in a quickstart's `models/`; or one that was exported and uploaded, by its name on the
        Hugging Face Hub (`owner/name`).

        Args:
            name: Folder or Hub name.
            device: Where it computes, as torch names it; the GPU when None, if there is one.

        Raises UserError where there is none, or no such device.
        """
        device, folder = compute_device(device), trained_model_folder(str(name))
        model = load_route_model(folder)
        model.to(device)
        return cls(model, str(folder.resolve() if Path(name).expanduser().is_dir() else name))

    @property
    def emotions(self) -> EmotionSet:
        return self.model.emotions

    def enroll(self, examples: Sequence[Example], names: Sequence[str] | None = None) -> PersonalRecognizer:
        """Learn one person's examples, whose clips are called by `names`, one each and none twice (as
        `name_of` calls them when None). Raises UserError for none, a clip that cannot be used, an emotion
        that the model does not know, or more than it can read."""
        if not examples:
            raise UserError("nothing to enroll: give at least one clip with its emotions")
        labels = tuple(_words(heard) for _, heard in examples)
        self.emotions.multi_hot(labels)  # refuses what it does not know before anything is encoded
        if names is None:
            names = [name_of(clip, number) for number, (clip, _) in enumerate(examples, start=1)]
        waveforms: dict[str, Tensor] = {}
        for name, (clip, _) in zip(names, examples, strict=True):
            try:
                waveforms[name] = waveform_of(clip)
            except BadAudio as error:
                raise UserError(f"cannot enroll {name}: {error}") from error
        tensors = self.model.enroll(
            self.model.encode_clips(Waveforms(waveforms)), Support(tuple(names), labels, seed=0)
        )
        enrolled = tuple(Enrolled(Path(name).name, heard) for name, heard in zip(names, labels, strict=True))
        return PersonalRecognizer(self, enrolled, tensors, tuple(waveforms[name] for name in names))

    def personal(self, path: str | PathLike[str]) -> PersonalRecognizer:
        """The person's recognizer from a profile of this model. Raises UserError for what is no profile, or
        another model's."""
        profile = Profile.load(Path(path))
        profile.check(self.model, Path(path))
        try:
            return PersonalRecognizer(self, profile.enrolled, profile.tensors, profile.audio)
        except UserError as error:
            raise UserError(f"the profile {path} is damaged ({error}): enroll again") from error

    def predict(self, clips: Sequence[Clip]) -> list[Prediction]:
        """One prediction a clip, in order. Raises UserError that names the first clip that cannot be used."""
        return _all(self.stream(clips))

    def stream(self, clips: Sequence[Clip]) -> Iterator[Prediction | Failure]:
        """The same one after the other, as they are ready; a clip that cannot be used is a `Failure`."""
        return self.answers(clips, None)

    def answers(
        self, clips: Sequence[Clip], personal: RoutePredictor | None
    ) -> Iterator[Prediction | Failure]:
        """`stream` with one person's predictor, and the unadapted answers beside it. Clips are encoded once
        for both."""
        return stream_clips(clips, lambda waveforms: self._predictions(waveforms, personal))

    def _predictions(self, waveforms: dict[str, Tensor], personal: RoutePredictor | None) -> list[Prediction]:
        names = list(waveforms)
        heard = self.model.encode_clips(Waveforms(waveforms))
        plain = self.predictor.predict_proba(heard, names)
        own = None if personal is None else personal.predict_proba(heard, names)
        return [
            self._prediction(name, plain[row], None if own is None else own[row])
            for row, name in enumerate(names)
        ]

    def _prediction(self, name: str, plain: np.ndarray, own: np.ndarray | None) -> Prediction:
        answer = self._answer(plain if own is None else own)
        return Prediction(**vars(answer), path=name, unadapted=None if own is None else self._answer(plain))

    def _answer(self, probabilities: np.ndarray) -> Answer:
        """From one row (num_emotions,)."""
        entropy = -(probabilities * np.log(probabilities.clip(min=1e-30))).sum(dtype=np.float64)
        return Answer(
            probabilities=dict(zip(self.emotions.names, probabilities.tolist(), strict=True)),
            labels=self.emotions.words(decide(probabilities[None])[0]),
            confidence=float(np.clip(1 - entropy / np.log(len(probabilities)), 0, 1)),
        )


class PersonalRecognizer:
    """A recognizer that has become one person's.

    Args:
        recognizer: What it was before.
        enrolled: What the person labeled.
        tensors: As of `RouteModel.enroll`.
        audio: The enrolled clips, (num_samples,) at 16 kHz each; empty where they are not known.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        enrolled: tuple[Enrolled, ...],
        tensors: dict[str, Tensor],
        audio: tuple[Tensor, ...] = (),
    ) -> None:
        self.recognizer = recognizer
        self.enrolled = enrolled
        self._tensors = tensors
        self._audio = audio
        self.predictor: RoutePredictor = recognizer.model.predictor(
            tensors, [one.emotions for one in enrolled]
        )

    @property
    def emotions(self) -> EmotionSet:
        return self.recognizer.emotions

    @property
    def model(self) -> RouteModel:
        return self.recognizer.model

    def predict(self, clips: Sequence[Clip]) -> list[Prediction]:
        """As `Recognizer.predict`, each with what the answer would be without the enrollment."""
        return _all(self.stream(clips))

    def stream(self, clips: Sequence[Clip]) -> Iterator[Prediction | Failure]:
        """As `Recognizer.stream`."""
        return self.recognizer.answers(clips, self.predictor)

    def save(self, path: str | PathLike[str], keep_audio: bool = False) -> None:
        """Write the profile, with the enrolled clips themselves if `keep_audio`. Raises UserError where that
        fails."""
        profile = Profile(
            route=self.model.route,
            model=self.recognizer.name,
            fingerprint=self.model.fingerprint(),
            emotions=self.emotions.names,
            enrolled=self.enrolled,
            tensors=self._tensors,
            audio=self._audio if keep_audio else (),
        )
        profile.save(Path(path))

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        model: str | PathLike[str] | None = None,
        device: str | None = None,
    ) -> Self:
        """The person's recognizer from a profile, and the model `model` (what the profile says when None) on
        `device`, both as `Recognizer.from_pretrained` takes them. Raises UserError for what is no profile, or
        another model than the profile's."""
        profile = Profile.load(Path(path))
        name = str(profile.model if model is None else model)
        if model is None and not Path(name).is_dir() and not is_hub_name(name):
            raise UserError(
                f"the model of the profile {path} is no longer in {name}: say where it is (model)"
            )
        return Recognizer.from_pretrained(name, device).personal(path)


def _words(heard: str | Sequence[str]) -> Emotions:
    """What was heard in a clip, without repeats."""
    texts = [heard] if isinstance(heard, str) else heard
    return tuple(dict.fromkeys(word for text in texts for word in parse_emotions(text)))


def _all(answers: Iterator[Prediction | Failure]) -> list[Prediction]:
    predictions = []
    for answer in answers:
        if isinstance(answer, Failure):
            raise UserError(f"{answer.path}: {answer.reason}")
        predictions.append(answer)
    return predictions
