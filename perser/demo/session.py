"""One page's examples, what the models have learned from them, and what they say of the clip that is tried.

Recordings are kept as samples, here and nowhere else; the files that they came in go when the page does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from perser.audio import BadAudio, load_audio
from perser.demo.limits import Limits
from perser.errors import UserError
from perser.inference.profile import Profile
from perser.inference.recognizer import PersonalRecognizer, Prediction, Recognizer
from perser.labels import Emotions


@dataclass(frozen=True, eq=False)
class Example:
    """A clip that was given, and what the person hears in it.

    Args:
        name: Of its file.
        waveform: (num_samples,) at 16 kHz.
        emotions: None yet where empty; then nothing is learned from it.
    """

    name: str
    waveform: Tensor
    emotions: Emotions = ()


@dataclass(frozen=True)
class Reply:
    """What one model says of the clip that is tried.

    Args:
        model: Its name.
        prediction: None where there is none.
        enrolled: How many examples it has learned from.
        problem: Why there is no prediction, or why it is without the examples; empty where nothing is wrong.
    """

    model: str
    prediction: Prediction | None
    enrolled: int = 0
    problem: str = ""


class Session:
    """All that belongs to one page.

    Args:
        models: By name; the same for every page, and never changed. They tell the same emotions apart.
        limits: Of what is accepted.
        folder: For a folder of its own, which is gone after `close`.
    """

    def __init__(self, models: Mapping[str, Recognizer], limits: Limits, folder: Path) -> None:
        self.models = models
        self.limits = limits
        self.folder = folder
        self.examples: dict[str, Example] = {}
        self._keys = map("example {}".format, count(1))
        self._clip: Tensor | None = None
        self._given: set[Path] = set()  # files that may be played, or read again, until the page is closed
        self._made: TemporaryDirectory[str] | None = None
        self._personal: dict[str, PersonalRecognizer] = {}  # what was learned, until an example changes

    def __deepcopy__(self, memo: dict[int, object]) -> Session:
        """A new page's: whoever copies an empty session means another one on the same models."""
        return Session(self.models, self.limits, self.folder)

    @property
    def emotions(self) -> Emotions:
        """In the first model's order."""
        return next(iter(self.models.values())).emotions.names

    @property
    def labeled(self) -> dict[str, Example]:
        """What is learned from, in the order in which it was given."""
        return {key: one for key, one in self.examples.items() if one.emotions}

    def add(self, path: Path) -> str:
        """Take a recording as an example, not labeled yet, and give its key. Raises UserError for one that
        cannot be used, or one too many."""
        if len(self.examples) >= self.limits.examples:
            raise UserError(f"{path.name}: there are {len(self.examples)} examples, remove one first")
        key = next(self._keys)
        self.examples[key] = Example(path.name, self._read(path))
        return key

    def label(self, key: str, emotions: Sequence[str]) -> None:
        """Say what the person hears in an example: one emotion, several, or none after all. A click that
        comes after the example was removed says nothing."""
        before = self.examples.get(key)
        if before is not None and before.emotions != tuple(emotions):
            self.examples[key] = replace(before, emotions=tuple(emotions))
            self._personal.clear()

    def remove(self, key: str) -> None:
        """Forget an example, if it is not forgotten already."""
        removed = self.examples.pop(key, None)
        if removed is not None and removed.emotions:
            self._personal.clear()

    def choose(self, path: Path | None) -> None:
        """The clip to answer about from now on, if any. Raises UserError for one that cannot be used."""
        self._clip = None
        if path is not None:
            self._clip = self._read(path)

    def replies(self) -> list[Reply]:
        """What every model says of the chosen clip; nothing where none is chosen. A model learns the examples
        again only after they changed."""
        return [] if self._clip is None else [self._reply(name, self._clip) for name in self.models]

    def save_profile(self, name: str) -> Path:
        """A file of what the model of that name has learned. Raises UserError where that is nothing."""
        personal = self._learned(name)
        if personal is None:
            raise UserError("there is no profile yet: label an example first")
        self._made = self._made or TemporaryDirectory(dir=self.folder)
        path = Path(self._made.name) / f"{Path(name).name}.profile"
        personal.save(path)
        return path

    def load_profile(self, path: Path) -> str:
        """Answer by a profile until an example changes; gives the name of its model. Raises UserError for
        what is no profile, or one of a model that is not here."""
        self._given.add(path)
        try:
            fingerprint = Profile.load(path).fingerprint
            fitting = [name for name, one in self.models.items() if one.model.fingerprint() == fingerprint]
            if not fitting:
                raise UserError(
                    f"{path} is not a profile of {' or of '.join(self.models)}: label examples anew"
                )
            self._personal[fitting[0]] = self.models[fitting[0]].personal(path)
        except UserError as error:  # which folder it lies in for now is of no use to anybody
            raise UserError(str(error).replace(str(path), path.name)) from error
        return fitting[0]

    def close(self) -> None:
        """Forget everything, and remove every file that was given or made."""
        self.examples.clear()
        self._personal.clear()
        self._clip = None
        for path in self._given:
            path.unlink(missing_ok=True)
        self._given.clear()
        if self._made is not None:
            self._made.cleanup()
            self._made = None

    def _reply(self, name: str, clip: Tensor) -> Reply:
        problem = ""
        try:
            personal = self._learned(name)
        except UserError as error:
            personal, problem = None, str(error)
        try:
            (prediction,) = (personal or self.models[name]).predict([clip])
        except UserError as error:
            return Reply(name, None, problem=str(error))
        return Reply(name, prediction, 0 if personal is None else len(personal.enrolled), problem)

    def _learned(self, name: str) -> PersonalRecognizer | None:
        """None where there is nothing to learn from. Raises UserError where that fails."""
        if name not in self._personal and self.labeled:
            pairs = [(one.waveform, one.emotions) for one in self.labeled.values()]
            self._personal[name] = self.models[name].enroll(pairs, [*self.labeled])
        return self._personal.get(name)

    def _read(self, path: Path) -> Tensor:
        """(num_samples,) at 16 kHz. Raises UserError, which names the file and not its folder."""
        self._given.add(path)
        if path.is_file() and path.stat().st_size > self.limits.bytes:
            raise UserError(f"{path.name}: larger than {self.limits.megabytes} MB")
        try:
            return load_audio(path, max_seconds=self.limits.seconds)
        except BadAudio as error:
            raise UserError(f"{path.name}: {error}") from error
