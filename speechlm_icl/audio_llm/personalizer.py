"""The method `audio-llm`: a ready audio LLM reads the person's enrollment as turns of a chat.

Nobody can know from its weights what such a model was trained on: the corpus may have been part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from perser.audio import SAMPLE_RATE
from perser.episodes.episode import Support
from perser.io.json_files import read_json
from perser.labels import EmotionSet
from perser.personalizer import RouteContext
from speechlm_icl.audio_llm.chat import Wording
from speechlm_icl.audio_llm.endpoint.settings import FILE, EndpointSettings, read_settings, split_endpoint
from speechlm_icl.audio_llm.families import METHOD, WITHOUT, check_pairs, split_text
from speechlm_icl.audio_llm.free_text import FreeTextLLM
from speechlm_icl.audio_llm.loading import check_named, load_audio_llm, model_folder
from speechlm_icl.audio_llm.model import InContextLLM
from speechlm_icl.audio_llm.trained import read_trained
from speechlm_icl.in_context import PLAIN, InContextPersonalizer
from speechlm_icl.model.saved_model import TRAINING
from speechlm_icl.projectors.base import Clips
from speechlm_icl.prompt.demonstrations import DemonstrationOptions, parse_demonstration_options, reorderings
from speechlm_icl.prompt.prompt import default_instruction
from speechlm_icl.scoring.scoring import calibrate

Waveform = Callable[[str], Tensor]
"""Returns the samples (num_samples,) at 16 kHz of an utterance."""


class AudioLLMPredictor:
    """An audio LLM that has read one person's enrollment, in one order or several.

    Args:
        llm: The model.
        waveform: Returns the clips to answer about.
        enrollments: The enrollment in each order; probabilities are averaged over them.
        calibrated: Whether each is calibrated with a content-free clip.
    """

    def __init__(
        self,
        llm: InContextLLM,
        waveform: Waveform,
        enrollments: Sequence[Any],
        calibrated: bool = False,
    ) -> None:
        self.llm = llm
        self.waveform = waveform
        self.enrollments = enrollments
        self._free = [
            llm.score(enrollment, [content_free_clip()]) if calibrated else None for enrollment in enrollments
        ]

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities of the emotions: float32 (n, C), rows sum to 1."""
        clips = read_waveforms(self.waveform, utterances)
        probabilities = []
        for enrollment, free in zip(self.enrollments, self._free, strict=True):
            scores = self.llm.score(enrollment, clips)
            probabilities.append((scores if free is None else calibrate(scores, free)).softmax(dim=1))
        return torch.stack(probabilities).mean(dim=0).numpy()


class AudioLLMPersonalizer(InContextPersonalizer):
    """Personalizes by reading pairs of a support in the prompt of an audio LLM."""

    route: ClassVar[str] = METHOD

    def __init__(
        self,
        llm: InContextLLM,
        waveform: Waveform,
        pairs: int | None = None,
        options: DemonstrationOptions = PLAIN,
    ) -> None:
        super().__init__(pairs, options)
        check_pairs(llm.several_clips, llm.name, pairs)
        self.llm = llm
        self.waveform = waveform

    @property
    def emotions(self) -> EmotionSet:
        return self.llm.emotions

    def features_of(self, utterances: Sequence[str]) -> Clips:
        """Return the mean log spectrum of each clip, (n, 1, 201): models of this kind have no common
        features."""
        return torch.stack([log_spectrum(self.waveform(name))[None] for name in utterances])

    def reading(self, pairs: int) -> AudioLLMPersonalizer:
        return AudioLLMPersonalizer(self.llm, self.waveform, pairs, self.options)

    def personalize(self, support: Support) -> AudioLLMPredictor:
        orders = reorderings(self.enrolled(support), self.options.orders)
        read = [
            self.llm.read(read_waveforms(self.waveform, each.utterances), self.answers(each))
            for each in orders
        ]
        return AudioLLMPredictor(self.llm, self.waveform, read, self.options.calibrated)

    def with_labels(self, labels: EmotionSet) -> AudioLLMPersonalizer:
        return AudioLLMPersonalizer(self.llm.with_labels(labels), self.waveform, self.pairs, self.options)

    def worded(self, instruction: str | None, words: Mapping[str, str]) -> AudioLLMPersonalizer:
        labels = tuple(words[emotion] for emotion in self.emotions.names)
        own = default_instruction(labels, self.llm.wording.joiner, chat=True)
        wording = Wording(own if instruction is None else instruction, labels, self.llm.wording.joiner)
        llm = self.llm.worded(self.emotions, wording)
        return AudioLLMPersonalizer(llm, self.waveform, self.pairs, self.options)

    def describe(self) -> dict[str, object]:
        return self.llm.describe() | super().describe()


def audio_llm(context: RouteContext, pairs: int | None = None) -> AudioLLMPersonalizer:
    """Audio LLM: a ready model reads the first enrollment pairs as turns of its own chat; its weights stay.

    The model follows a colon (`audio-llm-8:NAME`, or `audio-llm:NAME-8`): a folder `audio-llm-NAME` among the
    models, a folder, a name on the Hub, or with `+endpoint=URL` the name that an endpoint knows it by. With
    `+text`, labels are read out of what it writes. See `DemonstrationOptions` for the other options.
    """
    endpoint, others = split_endpoint(context.options)
    as_text, others = split_text(others)
    options = parse_demonstration_options(others, METHOD, WITHOUT)  # before the model is loaded
    check(METHOD, context, pairs)
    settings = endpoint_settings(context, endpoint)
    if settings is not None:
        from speechlm_icl.audio_llm.endpoint.client import EndpointClient
        from speechlm_icl.audio_llm.endpoint.model import WAYS, EndpointLLM

        kept = context.cache / "endpoint"
        llm: InContextLLM = EndpointLLM(
            EndpointClient(settings), kept, context.emotions, first_way=WAYS[-1 if as_text else 0]
        )
    else:
        folder = model_folder(context)
        if (trained := read_trained(folder)) is not None:
            trained_on = (read_json(folder / TRAINING) or {}).get("trained_on")
            context.check_model(folder, trained.emotions, trained_on)
        emotions = context.emotions if trained is None else trained.emotions
        loaded = load_audio_llm(folder, emotions, _name(context), context.device)
        llm = FreeTextLLM(loaded) if as_text else loaded
    return AudioLLMPersonalizer(llm, context.recordings.waveform, pairs, options)


def check(method: str, context: RouteContext, pairs: int | None) -> None:
    """Raise UserError for a model that cannot be measured, by its files' names and its config.json alone."""
    endpoint, _ = split_endpoint(context.options)
    settings = endpoint_settings(context, endpoint)
    if settings is not None:
        settings.key()
        return
    check_pairs(check_named(context).several_clips, _name(context), pairs)


def endpoint_settings(context: RouteContext, endpoint: str | None) -> EndpointSettings | None:
    """Return how the endpoint is asked that an option names, or a file in the model's folder; None for a
    model that is loaded."""
    if endpoint is not None:
        return read_settings(endpoint, context.ablation)
    file = context.folder(METHOD) / FILE
    return read_settings(str(file), None) if file.is_file() else None


def _name(context: RouteContext) -> str:
    return context.ablation or str(context.folder(METHOD))


def read_waveforms(waveform: Waveform, utterances: Sequence[str]) -> list[np.ndarray]:
    """Return the samples of utterances, each float32 (num_samples,) at 16 kHz."""
    return [waveform(name).to(torch.float32).cpu().numpy() for name in utterances]


def log_spectrum(waveform: Tensor) -> Tensor:
    """Return the log power spectrum of a clip, averaged over windows of 25 ms: (201,)."""
    window = torch.hann_window(400)
    spectrum = torch.stft(waveform.float(), 400, 160, window=window, return_complex=True)
    return spectrum.abs().square().clamp_min(1e-10).log().mean(dim=-1)


def content_free_clip() -> np.ndarray:
    """Return a clip that says nothing about its emotion: two seconds of noise, as loud as quiet speech.

    It is not silence: silence is unlike every recording, and may well be called `neutral`.
    """
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    return (0.02 * noise).astype(np.float32)
