"""The state of one page: its examples, the models enrolled on them, and the clip to answer about.

Recordings are kept as samples, only here; the uploaded files are removed when the page is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from perser.demo.simulated_clips import SimulatedClip
from perser.errors import UserError
from perser.inference.active_learning import suggest
from perser.inference.profile import Profile
from perser.inference.recognizer import PersonalRecognizer, Prediction, Recognizer
from perser.io.folders import is_left_out
from perser.io.terminal import counted
from perser.labels import Emotions, check_open_label
from perser.web.limits import Limits


@dataclass(frozen=True, eq=False)
class Example:
    """An uploaded or recorded clip and the emotions that the person hears in it.

    Args:
        name: The name of its file.
        waveform: Samples (num_samples,) at 16 kHz.
        emotions: Empty until the clip is labeled; it is not enrolled before.
    """

    name: str
    waveform: Tensor
    emotions: Emotions = ()


@dataclass(frozen=True)
class Reply:
    """What one model answers about the chosen clip.

    Args:
        model: The model's name.
        prediction: The answer; None where there is none.
        enrolled: How many examples are enrolled.
        before: What probabilities the model gave for the same clip before the last change of the examples;
            None where it had not answered about it yet.
        problem: Why there is no answer, or why it does not use the examples; empty where nothing is wrong.
    """

    model: str
    prediction: Prediction | None
    enrolled: int = 0
    problem: str = ""
    before: Mapping[str, float] | None = None


@dataclass(frozen=True, eq=False)
class _LastAnswer:
    """What a model answered last, about which clip, and with which examples."""

    clip: Tensor
    personal: PersonalRecognizer | None
    probabilities: Mapping[str, float]
    before: Mapping[str, float] | None


class Session:
    """The state of one page.

    Args:
        models: Models with the same emotions, by name; all pages share them, and they are never changed.
        limits: What the page accepts.
        folder: Where a temporary folder for profiles is made; `close` removes it.
        clips: Clips that can be tried without a recording.
    """

    def __init__(
        self,
        models: Mapping[str, Recognizer],
        limits: Limits,
        folder: Path,
        clips: Sequence[SimulatedClip] = (),
    ) -> None:
        self.models = models
        self.clips = {clip.name: clip for clip in clips}
        self.limits = limits
        self.folder = folder
        self.examples: dict[str, Example] = {}
        self.own_labels: Emotions = ()
        """Labels that the person has added to the emotions."""
        self._keys = map("example {}".format, count(1))
        self._clip: Tensor | None = None
        self._clip_name = ""
        self._answered: dict[str, _LastAnswer] = {}
        self._uploads: set[Path] = set()  # the browser may play or read them again until the page is closed
        self._profiles: TemporaryDirectory[str] | None = None
        # By model's name. It is replaced when an example changes: an enrollment that is under way in another
        # thread then ends in the old one, which nobody reads any more.
        self._personal: dict[str, PersonalRecognizer] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Session:
        """Return a new session on the same models: gradio copies the first one for every page that is
        opened."""
        return Session(self.models, self.limits, self.folder, [*self.clips.values()])

    @property
    def emotions(self) -> Emotions:
        """The emotions that all models know, in the first model's order."""
        return next(iter(self.models.values())).emotions.names

    @property
    def choices(self) -> Emotions:
        """What an example can be labeled with: the emotions, and the person's own labels."""
        return (*self.emotions, *self.own_labels)

    @property
    def labeled(self) -> dict[str, Example]:
        """The examples that are labeled, in the order in which they were added."""
        return {key: example for key, example in self.examples.copy().items() if example.emotions}

    def add(self, path: Path) -> str:
        """Add a recording as an example without labels and return its key. Raises UserError for a recording
        that cannot be used, or one more than the page can hold."""
        if is_left_out(path.name):  # chosen with everything else in a folder
            self._uploads.add(path)
            raise UserError(f"{path.name}: left out, because it is a hidden file")
        self._check_room(path.name)
        return self._added(Example(path.name, self._read(path)))

    def add_simulated(self, name: str) -> str:
        """Add one of the clips of the page as an example without labels and return its key. Raises UserError
        for one more than the page can hold."""
        self._check_room(name)
        return self._added(Example(f"{name}, simulated speech", self.clips[name].waveform))

    def label(self, key: str, emotions: Sequence[str]) -> None:
        """Set the emotions that the person hears in an example: one, several, or none to undo it. A key
        that was removed meanwhile is ignored."""
        before = self.examples.get(key)
        if before is not None and before.emotions != tuple(emotions):
            self.examples[key] = replace(before, emotions=tuple(emotions))
            self._personal = {}

    def add_label(self, text: str) -> None:
        """Add a label of the person's own. Raises UserError for one that is there, or not one word or two."""
        label = " ".join(text.split())
        check_open_label(label)
        if label.lower() in self.choices:
            raise UserError(f"'{label}' is a label already: label an example with it")
        self.own_labels = (*self.own_labels, label.lower())

    def remove(self, key: str) -> None:
        """Remove an example, if it is still there."""
        removed = self.examples.pop(key, None)
        if removed is not None and removed.emotions:
            self._personal = {}

    def choose(self, path: Path | None) -> None:
        """Set the clip to answer about, or none. Raises UserError for a clip that cannot be used."""
        self._clip, self._clip_name = None, ""
        if path is not None:
            self._clip, self._clip_name = self._read(path), path.name

    def choose_simulated(self, name: str) -> None:
        """Set one of the clips of the page as the clip to answer about."""
        self._clip, self._clip_name = self.clips[name].waveform, f"{name}, simulated speech"

    @property
    def clip_name(self) -> str:
        """What the clip to answer about is called; empty where none is chosen."""
        return self._clip_name

    def label_next(self) -> str:
        """Return the key of the example that the person should label next.

        It resembles many other clips about which the models are unsure, or disagree, and differs from those
        that are labeled. Raises UserError where no example waits for a label.
        """
        if not self.examples:
            raise UserError("there are no examples: add a clip first")
        waiting = {key: example for key, example in self.examples.copy().items() if not example.emotions}
        if not waiting:
            raise UserError("all your examples are labeled: add another clip first")
        judges = [self._enrolled(name) or recognizer for name, recognizer in self.models.items()]
        pool, known = ([example.waveform for example in part.values()] for part in (waiting, self.labeled))
        (chosen, *_), _ = suggest(judges, pool, 1, known)
        return dict(zip(map("clip {}".format, count(1)), waiting, strict=False))[chosen.path]

    def replies(self) -> list[Reply]:
        """Return every model's answer about the chosen clip; nothing where none is chosen. A model is
        enrolled again only after an example changed."""
        clip = self._clip
        return [] if clip is None else [self._reply(name, clip) for name in self.models]

    def save_profile(self, name: str) -> Path:
        """Write the profile for the model of that name and return its file. Raises UserError where no
        example is labeled."""
        personal = self._enrolled(name)
        if personal is None:
            raise UserError("there is no profile yet: label an example first")
        self._profiles = self._profiles or TemporaryDirectory(dir=self.folder)
        path = Path(self._profiles.name) / f"{Path(name).name}.profile"
        personal.save(path)
        return path

    def load_profile(self, path: Path) -> str:
        """Answer by a profile until an example changes; return the name of its model. Raises UserError for
        a file that is no profile, or one of a model that is not on the page."""
        self._uploads.add(path)
        try:
            fingerprint = Profile.load(path).fingerprint
            matching = [
                name
                for name, recognizer in self.models.items()
                if recognizer.model.fingerprint() == fingerprint
            ]
            if not matching:
                raise UserError(
                    f"{path} is not a profile of {' or of '.join(self.models)}: label the examples again"
                )
            self._personal[matching[0]] = self.models[matching[0]].personal(path)
        except UserError as error:
            # Name the file without the temporary folder that it was uploaded to.
            raise UserError(str(error).replace(str(path), path.name)) from error
        return matching[0]

    def close(self) -> None:
        """Clear the session and remove every file that was uploaded or written."""
        self.examples.clear()
        self._personal = {}
        self._answered = {}
        self._clip = None
        for path in self._uploads:
            path.unlink(missing_ok=True)
        self._uploads.clear()
        if self._profiles is not None:
            self._profiles.cleanup()
            self._profiles = None

    def _reply(self, name: str, clip: Tensor) -> Reply:
        problem = ""
        try:
            personal = self._enrolled(name)
        except UserError as error:
            personal, problem = None, str(error)
        try:
            (prediction,) = (personal or self.models[name]).predict([clip])
        except UserError as error:
            return Reply(name, None, problem=str(error))
        enrolled = 0 if personal is None else len(personal.enrolled)
        return Reply(name, prediction, enrolled, problem, self._before(name, clip, personal, prediction))

    def _before(
        self, name: str, clip: Tensor, personal: PersonalRecognizer | None, prediction: Prediction
    ) -> Mapping[str, float] | None:
        """Return what the model answered about the clip before the examples changed, and keep this answer."""
        last = self._answered.get(name)
        if last is None or last.clip is not clip:
            before = None
        else:
            before = last.before if last.personal is personal else last.probabilities
        self._answered[name] = _LastAnswer(clip, personal, prediction.probabilities, before)
        return before

    def _check_room(self, name: str) -> None:
        if len(self.examples) >= self.limits.examples:
            most = counted(self.limits.examples, "example")
            raise UserError(f"{name}: there can be {most} at most, remove one first")

    def _added(self, example: Example) -> str:
        key = next(self._keys)
        self.examples[key] = example
        return key

    def _enrolled(self, name: str) -> PersonalRecognizer | None:
        """Return the model enrolled on the labeled examples, None where there are none. Raises UserError
        where enrolling fails."""
        personal, labeled = self._personal, self.labeled
        if name not in personal and labeled:
            pairs = [(example.waveform, example.emotions) for example in labeled.values()]
            used = {label for example in labeled.values() for label in example.emotions}
            is_open = not used.isdisjoint(self.own_labels)
            personal[name] = self.models[name].enroll(pairs, [*labeled], "open" if is_open else "known")
        return personal.get(name)

    def _read(self, path: Path) -> Tensor:
        """Return the samples (num_samples,) at 16 kHz. Raises UserError, which names the file without its
        folder."""
        self._uploads.add(path)
        return self.limits.read(path, path.name)
