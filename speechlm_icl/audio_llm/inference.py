"""An audio LLM on single clips, as `perser.inference.recognizer` uses it.

A profile holds the enrolled clips themselves and their labels: the prompt needs them, and what a model makes
of them is many times larger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from perser.device import loading_device
from perser.encoders.feature_cache import AudioSource
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.inference.clips import Waveforms
from perser.io.checksums import file_sha256
from perser.labels import Emotions, EmotionSet
from speechlm_icl.audio_llm.endpoint.client import EndpointClient
from speechlm_icl.audio_llm.endpoint.model import EndpointLLM
from speechlm_icl.audio_llm.endpoint.settings import FILE, read_settings
from speechlm_icl.audio_llm.families import DEFAULT_EMOTIONS, METHOD, check_reads_enrollment
from speechlm_icl.audio_llm.loading import load_audio_llm
from speechlm_icl.audio_llm.model import InContextLLM
from speechlm_icl.audio_llm.personalizer import AudioLLMPersonalizer, AudioLLMPredictor, log_spectrum
from speechlm_icl.audio_llm.trained import BINDING, read_trained
from speechlm_icl.model.language_model import ADAPTER_FOLDER

ANSWERS = "answers"
"""The folder in that of a model where the answers of its endpoint are kept."""

KEPT = Path("runs/cache/endpoint")
"""The same for a model that has no folder."""

FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""The files of a model that its answers depend on."""

TRAINED_FILES = (BINDING, f"{ADAPTER_FOLDER}/*.safetensors")
"""The same for one that was meta-trained, whose other file names its base and how it is asked."""


class AudioLLMModel:
    """An audio LLM (a `perser.route.GrowingRouteModel`).

    Args:
        llm: The model.
        folder: Where it was loaded from.
    """

    route: ClassVar[str] = METHOD

    def __init__(self, llm: InContextLLM, folder: Path) -> None:
        self.llm = llm
        self._folder = folder

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Return the model in a folder, or behind the endpoint that it names; answers of an endpoint are kept
        in the folder."""
        emotions = EmotionSet(DEFAULT_EMOTIONS)
        if not (folder / FILE).is_file():
            device = str(loading_device())  # quantized weights cannot be moved later
            own = None if read_trained(folder) else emotions
            return cls(load_audio_llm(folder, own, device=device), folder)
        client = EndpointClient(read_settings(str(folder / FILE), None))
        return cls(EndpointLLM(client, folder / ANSWERS, emotions), folder)

    @classmethod
    def at_endpoint(cls, endpoint: str, model: str) -> Self:
        """Return the model that an endpoint knows by a name; its answers are kept where `perser bench` keeps
        them by default.

        Args:
            endpoint: The address, or the JSON file with its settings.
            model: The name; empty for that in the file.
        """
        if "://" not in endpoint and not Path(endpoint).is_file():
            raise UserError(
                f"{endpoint}, the settings of the endpoint, is gone: put it back, or enroll again"
            )
        client = EndpointClient(read_settings(endpoint, model or None))
        return cls(EndpointLLM(client, KEPT, EmotionSet(DEFAULT_EMOTIONS)), KEPT)

    @property
    def emotions(self) -> EmotionSet:
        return self.llm.emotions

    def with_labels(self, labels: EmotionSet) -> AudioLLMModel:
        """Return this model with other labels in its prompts (a `perser.route.OpenRouteModel`)."""
        return AudioLLMModel(self.llm.with_labels(labels), self._folder)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        if isinstance(self.llm, EndpointLLM):  # its limits and prices change no answer
            settings = self.llm.client.settings
            digest.update(f"{settings.url} {settings.model}".encode())
            return digest.hexdigest()
        if (trained := read_trained(self._folder)) is not None:  # of another place, it is the same model
            digest.update(json.dumps(trained.to_json() | {"language_model": None}, sort_keys=True).encode())
        files = FILES if trained is None else TRAINED_FILES
        for file in sorted({file for pattern in files for file in self._folder.glob(pattern)}):
            digest.update(f"{file.name} {file_sha256(file)}\n".encode())
        return digest.hexdigest()

    def to(self, device: str) -> None:
        if device != "cpu":
            self.llm.to(device)

    def encode_clips(self, clips: AudioSource) -> AudioSource:
        return clips

    def embed_clips(self, encoded: AudioSource, names: Sequence[str]) -> np.ndarray:
        """Return the mean log spectrum of each clip: an endpoint shows nothing of what its model hears."""
        return torch.stack([log_spectrum(encoded.waveform(name)) for name in names]).numpy()

    def enroll(self, encoded: AudioSource, support: Support) -> dict[str, Tensor]:
        check_reads_enrollment(self.llm.several_clips, self.llm.name)
        return {_name(number): encoded.waveform(name) for number, name in enumerate(support.utterances)}

    def encode_more(
        self, tensors: Mapping[str, Tensor], enrolled: Sequence[str], clips: AudioSource
    ) -> Waveforms | None:
        waveforms = {name: tensors[_name(number)] for number, name in enumerate(enrolled)}
        return Waveforms(waveforms | {name: clips.waveform(name) for name in clips.utterance_ids})

    def predictor(self, tensors: Mapping[str, Tensor], labels: Sequence[Emotions]) -> AudioLLMReader:
        names = tuple(map(_name, range(len(labels))))
        if set(tensors) != set(names) or not all(map(_is_clip, tensors.values())):
            raise UserError("it does not hold the enrolled clips")
        return AudioLLMReader(self.llm, Waveforms(tensors), Support(names, tuple(labels), seed=0))


class AudioLLMReader:
    """An audio LLM that has read one person's enrollment, or none."""

    def __init__(self, llm: InContextLLM, enrolled: AudioSource, support: Support) -> None:
        pairs = None if len(support) else 0
        personal = AudioLLMPersonalizer(llm, enrolled.waveform, pairs).personalize(support)
        self._llm, self._enrollments = llm, personal.enrollments

    def predict_proba(self, encoded: AudioSource, names: Sequence[str]) -> np.ndarray:
        return AudioLLMPredictor(self._llm, encoded.waveform, self._enrollments).predict_proba(names)


def _name(number: int) -> str:
    return f"clip-{number}"


def _is_clip(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.ndim == 1 and len(tensor) > 0
