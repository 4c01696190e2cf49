"""Personalize a trained model of either route to one person with a few labeled clips:

    recognizer = Recognizer.from_pretrained("runs/quickstart/models/speech-lm")
    personal = recognizer.enroll([("a.wav", "angry"), ("b.wav", ("happy", "excited"))])
    for prediction in personal.predict(["new.wav"]):
        print(prediction.path, prediction.labels, prediction.probabilities)
    personal.save("alice.profile")
    personal = PersonalRecognizer.load("alice.profile")

The answers are those that the same method gives in `perser bench` after the same pairs, as
`speech-lm-8+standardize=enrolled` where features are standardized by these (on a GPU, up to the rounding of
TF32, which `perser bench` uses).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from perser.device import MAKING_A_MODEL, loading_on, set_tf32
from perser.distributed import compute_device
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.inference.clips import Clip, Failure, Waveforms, stream_clips
from perser.inference.computing_thread import compute, cores_for, end_openmp_helpers
from perser.inference.labeled_clips import LabeledClip, and_other, read_labeled, spelled_labels
from perser.inference.prediction import Prediction, classify
from perser.inference.profile import Enrolled, Profile
from perser.inference.standardization import (
    Standardize,
    check_standardize,
    learn,
    personal_predictor,
    standardization_of,
)
from perser.installed_routes import load_address, load_route_model, without_method
from perser.io.hub import is_hub_name, trained_model_folder
from perser.labels import (
    Emotions,
    EmotionSet,
    distinct_labels,
    open_labels,
)
from perser.route import (
    EncodedClips,
    GrowingRouteModel,
    OpenRouteModel,
    RouteModel,
    RoutePredictor,
    SizedRouteModel,
    split_address,
)
from perser.starter import starter_folder

T = TypeVar("T")


class Recognizer:
    """A trained model that is not personalized. It answers as it is; `enroll` personalizes it.

    Args:
        model: A model of one of the routes.
        name: The model's folder, or its name on the Hub.
        open_labels: Whether it answers with labels of a person, not with the emotions that it was trained on.
    """

    def __init__(self, model: RouteModel, name: str, open_labels: bool = False) -> None:
        self.model = model
        self.name = name
        self.open_labels = open_labels
        self.trained = self
        """The recognizer with the emotions of the model, where this one has labels of a person."""
        self._cores = cores_for(model.num_weights()) if isinstance(model, SizedRouteModel) else None
        self.predictor: RoutePredictor = model.predictor({}, ())

    @classmethod
    def from_pretrained(cls, name: str | PathLike[str], device: str | None = None) -> Self:
        """Load a model that `perser pretrain`, `meta-train`, `icl-train` or `export` wrote, from its folder,
        or an exported one by its name on the Hugging Face Hub (`owner/name`).

        Args:
            name: Folder, starter model (`starter`, `starter-icl`) or Hub name, or the address of a model
                behind an endpoint (`perser.route.address_of`).
            device: Where it computes, as torch names it; when None, the GPU if there is one.

        On a GPU, float32 is multiplied in full from now on, so that answers are those of a CPU to many digits
        (`perser.device.set_tf32`). Raises UserError where there is no such model or device.
        """
        name = without_method(str(name))
        device = compute_device(device)
        if (asked := load_address(name)) is not None:
            return cls(asked, name)
        folder = trained_model_folder(name)
        set_tf32(torch.device(device), allowed=False)
        with MAKING_A_MODEL, loading_on(device):
            model = load_route_model(folder)
        model.to(device)
        end_openmp_helpers()  # of loading: another thread may be the one that computes
        return cls(model, str(folder.resolve() if Path(name).expanduser().is_dir() else name))

    @property
    def emotions(self) -> EmotionSet:
        return self.model.emotions

    def enroll(
        self,
        examples: Sequence[LabeledClip],
        names: Sequence[str] | None = None,
        labels: Literal["known", "open"] = "known",
        other: bool = False,
        standardize: Standardize | None = None,
    ) -> PersonalRecognizer:
        """Personalize to the person who labeled these clips.

        Args:
            examples: The clips, in any form that `perser.audio.load_audio` takes, with their emotions.
            names: A different name for each clip; those of `name_of` when None. Then no file may be there
                twice.
            labels: `known`: the labels are emotions of the model. `open`: they are any words, such as
                sarcastic or very tired, and the answers choose among those that occur.
            other: With open labels, whether an answer may also be `other`: none of those that occur.
            standardize: By which clips features are standardized: `enrolled`, these together with those of
                the model's training, or `model`, the latter alone; None: as the model answers best.

        Raises UserError for no clips, a clip that cannot be used, an emotion that the model does not know,
        or more clips than it can read; with open labels, for a label that is not one word or two, or is
        spelled in two ways, and for fewer than two labels; and for `other` where the model was not trained
        to answer it.
        """
        examples, spelled = spelled_labels(examples)
        check_standardize(standardize)
        if other and labels != "open":
            raise UserError("other: it is for labels of a person's own: give labels='open', or leave it out")
        if labels == "open":
            chosen = open_labels(word for words in spelled for word in words)
            opened = self.with_labels(and_other(chosen, self.trained.model) if other else chosen)
            return self.compute(lambda: opened._enroll(examples, spelled, names, standardize))
        return self.compute(lambda: self._enroll(examples, spelled, names, standardize))

    def compute(self, job: Callable[[], T]) -> T:
        """Return what a job returns that computes with this model (`perser.inference.computing_thread`)."""
        return compute(job, self._cores)

    def with_labels(self, labels: EmotionSet) -> Recognizer:
        """Return the recognizer of the same model that chooses among other labels.

        It has no examples of them until clips are enrolled. Raises UserError where the model cannot learn
        other labels.
        """
        if not isinstance(self.trained.model, OpenRouteModel):
            raise UserError(
                f"a model of the route {self.model.route} cannot learn labels of your own: use its emotions, "
                f"{', '.join(self.emotions.names)}"
            )
        opened = Recognizer(self.trained.model.with_labels(labels), self.name, open_labels=True)
        opened.trained = self.trained
        return opened

    def _enroll(
        self,
        examples: list[LabeledClip],
        spelled: list[Emotions],
        names: Sequence[str] | None,
        standardize: Standardize | None,
    ) -> PersonalRecognizer:
        names, labels, waveforms = read_labeled(examples, spelled, self.emotions, names)
        encoded = self.model.encode_clips(waveforms)
        tensors = learn(self.model, encoded, Support(names, labels, seed=0), standardize)
        return PersonalRecognizer(
            self, _enrolled(names, labels), tensors, tuple(map(waveforms.waveform, names))
        )

    def personal(self, path: str | PathLike[str]) -> PersonalRecognizer:
        """Return the recognizer of the person whose profile this is. Raises UserError for a file that is no
        profile, or one of another model."""
        profile = Profile.load(Path(path))
        profile.check(self.model, Path(path))
        try:
            own = self.with_labels(EmotionSet(profile.emotions)) if profile.open_labels else self
            return PersonalRecognizer(own, profile.enrolled, profile.tensors, profile.audio)
        except UserError as error:
            raise UserError(f"the profile {path} is damaged ({error}): enroll again") from error

    def predict(self, clips: Clip | Iterable[Clip]) -> list[Prediction]:
        """Return a prediction for each clip, in order. Raises UserError that names the first clip that
        cannot be used.

        Args:
            clips: Clips, or a single one, in any form that `perser.audio.load_audio` takes. The rows of an
                array are clips of their own.
        """
        return _without_failures(self.stream(clips))

    def stream(self, clips: Clip | Iterable[Clip]) -> Iterator[Prediction | Failure]:
        """Yield the predictions one after the other, as they are ready; a clip that cannot be used gives a
        `Failure`."""
        return self.answers(clips, None)

    def answers(
        self, clips: Clip | Iterable[Clip], personal: RoutePredictor | None
    ) -> Iterator[Prediction | Failure]:
        """Yield the predictions of a personal predictor, each with the unadapted one, or the unadapted ones
        where there is no personal predictor. Clips are encoded once for both."""
        return stream_clips(clips, lambda waveforms: self._predictions(waveforms, personal), self.compute)

    def _predictions(self, waveforms: dict[str, Tensor], personal: RoutePredictor | None) -> list[Prediction]:
        names = list(waveforms)
        encoded = self.model.encode_clips(Waveforms(waveforms))
        plain = self.predictor.predict_proba(encoded, names)
        own = None if personal is None else personal.predict_proba(encoded, names)
        return [
            self._prediction(name, plain[row], None if own is None else own[row])
            for row, name in enumerate(names)
        ]

    def _prediction(self, name: str, plain: np.ndarray, own: np.ndarray | None) -> Prediction:
        answer = classify(self.emotions, plain if own is None else own)
        unadapted = None if own is None else classify(self.emotions, plain)
        return Prediction(**vars(answer), path=name, unadapted=unadapted)


class PersonalRecognizer:
    """A recognizer that is personalized to one person.

    Args:
        recognizer: The recognizer that is not personalized.
        enrolled: What the person labeled.
        tensors: What `RouteModel.enroll` returned.
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
        labels = [example.emotions for example in enrolled]
        self.predictor: RoutePredictor = recognizer.compute(
            lambda: personal_predictor(recognizer.model, tensors, labels)
        )

    @property
    def emotions(self) -> EmotionSet:
        return self.recognizer.emotions

    @property
    def model(self) -> RouteModel:
        return self.recognizer.model

    @property
    def keeps_audio(self) -> bool:
        """Whether the enrolled clips themselves are known."""
        return len(self._audio) == len(self.enrolled)

    def enroll(self, examples: Sequence[LabeledClip]) -> PersonalRecognizer:
        """Return the recognizer that has learned further clips beside those enrolled so far.

        It is the same as after enrolling all of them at once. Labels of the person's own may be new. Raises
        UserError as `Recognizer.enroll` does, for a recording that is enrolled already, and where too little
        is known of the earlier clips.
        """
        examples, spelled = spelled_labels(examples)
        recognizer = self.recognizer
        if recognizer.open_labels:
            further = distinct_labels(word for words in spelled for word in words)
            known = self.emotions.names
            if any(label not in known for label in further):
                recognizer = recognizer.with_labels(EmotionSet(tuple(dict.fromkeys((*known, *further)))))
        return recognizer.compute(lambda: self._enroll_more(recognizer, examples, spelled))

    def _enroll_more(
        self, recognizer: Recognizer, examples: list[LabeledClip], spelled: list[Emotions]
    ) -> PersonalRecognizer:
        names, labels, new = read_labeled(examples, spelled, recognizer.emotions)
        earlier = [f"enrolled clip {number}" for number in range(1, len(self.enrolled) + 1)]
        encoded = self._encode_all(earlier, new)
        self._check_new(encoded, earlier, names)
        every_label = (*(clip.emotions for clip in self.enrolled), *labels)
        support = Support((*earlier, *names), every_label, seed=0)
        tensors = learn(recognizer.model, encoded, support, standardization_of(self._tensors))
        audio = (*self._audio, *map(new.waveform, names)) if self.keeps_audio else ()
        enrolled = (*self.enrolled, *_enrolled(names, labels))
        return PersonalRecognizer(recognizer, enrolled, tensors, audio)

    def _encode_all(self, earlier: Sequence[str], new: Waveforms) -> EncodedClips:
        """Return the enrolled clips under the names `earlier`, and the new ones."""
        if isinstance(self.model, GrowingRouteModel):
            encoded = self.model.encode_more(self._tensors, earlier, new)
            if encoded is not None:
                return encoded
        if not self.keeps_audio:
            raise UserError(
                "the profile keeps neither features nor audio of its clips, so it cannot go on learning: "
                "enroll all examples again with --keep_audio true"
            )
        waveforms = dict(zip(earlier, self._audio, strict=True))
        waveforms |= {name: new.waveform(name) for name in new.utterance_ids}
        return self.model.encode_clips(Waveforms(waveforms))

    def _check_new(self, encoded: EncodedClips, earlier: Sequence[str], names: Sequence[str]) -> None:
        """Raise UserError for a new clip that is one of the enrolled recordings."""
        before, now = (self.model.embed_clips(encoded, each) for each in (earlier, names))
        for name, row in zip(names, now, strict=True):
            same = np.isclose(before, row, rtol=1e-5, atol=1e-6).all(axis=1)
            if same.any():
                there = self.enrolled[int(same.argmax())]
                raise UserError(
                    f"{name} is enrolled already (as {there.name}: {', '.join(there.emotions)}): leave it out"
                )

    def predict(self, clips: Clip | Iterable[Clip]) -> list[Prediction]:
        """Return what `Recognizer.predict` does, each with what the answer would be without the
        enrollment."""
        return _without_failures(self.stream(clips))

    def stream(self, clips: Clip | Iterable[Clip]) -> Iterator[Prediction | Failure]:
        """Yield what `Recognizer.stream` does, each with what the answer would be without the enrollment."""
        return self.recognizer.answers(clips, self.predictor)

    def save(self, path: str | PathLike[str], keep_audio: bool = False) -> None:
        """Write the profile, with the enrolled clips if `keep_audio`. Raises UserError where that fails."""
        profile = Profile(
            route=self.model.route,
            model=self.recognizer.name,
            fingerprint=self.model.fingerprint(),
            emotions=self.emotions.names,
            enrolled=self.enrolled,
            tensors=self._tensors,
            audio=self._audio if keep_audio else (),
            open_labels=self.recognizer.open_labels,
        )
        profile.save(Path(path))

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        model: str | PathLike[str] | None = None,
        device: str | None = None,
    ) -> PersonalRecognizer:
        """Load a profile and its model.

        Args:
            path: The profile's file.
            model: Folder or Hub name of the model; when None, the one that the profile names.
            device: Where it computes, as of `Recognizer.from_pretrained`.

        Raises UserError for a file that is no profile, or another model than the profile's.
        """
        profile = Profile.load(Path(path))
        name = str(profile.model if model is None else model)
        known = (
            Path(name).is_dir()
            or is_hub_name(name)
            or starter_folder(name) is not None
            or split_address(name) is not None
        )
        if model is None and not known:
            raise UserError(
                f"the model of the profile {path} is no longer in {name}: say where it is (model)"
            )
        return Recognizer.from_pretrained(name, device).personal(path)


def _enrolled(names: Sequence[str], labels: Sequence[Emotions]) -> tuple[Enrolled, ...]:
    return tuple(Enrolled(Path(name).name, emotions) for name, emotions in zip(names, labels, strict=True))


def _without_failures(answers: Iterator[Prediction | Failure]) -> list[Prediction]:
    predictions = []
    for answer in answers:
        if isinstance(answer, Failure):
            raise UserError(f"{answer.path}: {answer.reason}")
        predictions.append(answer)
    return predictions
