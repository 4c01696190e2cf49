"""Profiles: what personalizes a model to one person, saved in one safetensors file.

The file holds the route's tensors (adapted weights, or features of the enrolled clips) and no audio unless
that was asked for. Its header, in JSON, says which model they belong to and what was enrolled. Reading a
profile runs no code.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from perser.errors import UserError, advice_without_damage, first_line
from perser.inference.profile_place import FORMAT, refuse_other
from perser.io.checksums import tensors_sha256
from perser.io.files import check_name, explain_write_errors, temporary_prefix
from perser.io.folders import did_you_mean
from perser.labels import Emotions
from perser.route import RouteModel

TENSOR, AUDIO = "tensor:", "audio:"
"""Prefixes of the tensors' names in the file: the route's, by name, and the clips, by number."""

OPEN = "open"
"""Value of the header's `labels` where the person made up the labels."""

DIGEST = "sha256"
"""Key of the header's digest of itself and the tensors, which detects damage; it does not prove who made
it."""


@dataclass(frozen=True)
class Enrolled:
    """One enrolled clip: the name of its file without the folder, and the emotions that the person heard."""

    name: str
    emotions: Emotions


@dataclass(frozen=True)
class Profile:
    """The content of a profile.

    Args:
        route: Name of the model's route.
        model: The model's folder at that time, or its name on the Hub.
        fingerprint: Digest of the model (`RouteModel.fingerprint`).
        emotions: The model's emotions, in its order.
        enrolled: The clips, in the order in which they were enrolled.
        tensors: What `RouteModel.enroll` returned.
        audio: Waveforms (num_samples,) at 16 kHz of the enrolled clips; empty where they were not kept.
        open_labels: Whether the emotions are labels that the person made up, not those of the model.
    """

    route: str
    model: str
    fingerprint: str
    emotions: Emotions
    enrolled: tuple[Enrolled, ...]
    tensors: dict[str, Tensor]
    audio: tuple[Tensor, ...] = ()
    open_labels: bool = False

    @property
    def labels(self) -> tuple[Emotions, ...]:
        return tuple(clip.emotions for clip in self.enrolled)

    def save(self, path: Path) -> None:
        """Write the profile. Raises UserError where that fails, or the file holds something else."""
        path = Path(path)
        check_name(path)
        refuse_other(path)
        tensors = {f"{TENSOR}{name}": tensor for name, tensor in self.tensors.items()}
        tensors |= {f"{AUDIO}{number}": waveform for number, waveform in enumerate(self.audio)}
        header = {
            "format": FORMAT,
            "route": self.route,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "emotions": json.dumps(self.emotions),
            "enrolled": json.dumps([[clip.name, clip.emotions] for clip in self.enrolled]),
        }
        if self.open_labels:  # left out elsewhere, so that version 0.1.0 reads those profiles
            header["labels"] = OPEN
        with explain_write_errors(f"the profile {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            owned = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
            header[DIGEST] = _digest(header, owned)
            with tempfile.TemporaryDirectory(prefix=temporary_prefix(path), dir=path.parent) as temporary:
                save_file(owned, Path(temporary) / path.name, metadata=header)
                (Path(temporary) / path.name).replace(path)

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read a profile. Raises UserError for a file that is no profile, or a damaged one."""
        check_name(path)
        if Path(path).is_dir():
            raise UserError(f"{path} is a folder: give the profile, a file that `perser enroll` wrote")
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except FileNotFoundError:
            hint = did_you_mean(Path(path))
            raise UserError(f"no profile {path}{hint}: make one with `perser enroll`") from None
        except Exception as error:  # safetensors and torch raise many kinds for a damaged file
            if advice := advice_without_damage(error):
                raise UserError(f"cannot read the profile {path} ({first_line(error)}): {advice}") from error
            raise UserError(f"{path} is not a profile, or a damaged one: {error}") from error
        if header.get("format") != FORMAT:
            raise UserError(f"{path} is not a profile of this version: make one with `perser enroll`")
        if header.pop(DIGEST, None) != _digest(header, tensors):
            raise UserError(f"the profile {path} is not what was saved, it is damaged: enroll again")
        if not all(tensor.double().isfinite().all() for tensor in tensors.values()):
            raise UserError(f"the profile {path} holds values that are not finite: enroll again")
        try:
            enrolled = [Enrolled(str(name), _words(words)) for name, words in json.loads(header["enrolled"])]
            emotions = _words(json.loads(header["emotions"]))
            route, model, fingerprint = header["route"], header["model"], header["fingerprint"]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(f"the header of the profile {path} is damaged: enroll again") from error
        own = {
            name.removeprefix(TENSOR): tensor for name, tensor in tensors.items() if name.startswith(TENSOR)
        }
        audio = tuple(tensors[f"{AUDIO}{i}"] for i in range(len(enrolled)) if f"{AUDIO}{i}" in tensors)
        is_open = header.get("labels") == OPEN
        return cls(route, model, fingerprint, emotions, tuple(enrolled), own, audio, is_open)

    def check(self, model: RouteModel, path: Path) -> None:
        """Raise UserError where the profile, read from `path`, belongs to another model."""
        known = self.emotions if self.open_labels else model.emotions.names
        for what, there, here in (
            ("route", self.route, model.route),
            ("emotions", ", ".join(self.emotions), ", ".join(known)),
            ("content", self.fingerprint, model.fingerprint()),
        ):
            if there != here:
                detail = "its weights differ" if what == "content" else f"its {what}: {there}; here: {here}"
                raise UserError(
                    f"the profile {path} is of another model ({detail}): give the one that it was made with, "
                    "or enroll again"
                )


def _digest(header: dict[str, str], tensors: dict[str, Tensor]) -> str:
    return tensors_sha256(json.dumps(sorted(header.items())), tensors)


def _words(content: object) -> Emotions:
    """Return a list of words as a tuple. Raises TypeError for anything else."""
    if not isinstance(content, list) or not all(isinstance(word, str) for word in content):
        raise TypeError("not a list of words")
    return tuple(content)
