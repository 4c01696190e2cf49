"""One loaded model in many threads: each gets the answers that it would get alone, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForAudioClassification, AutoModelForMultimodalLM
from transformers.utils import logging as transformers_logging

import meta_perser.auto  # noqa: F401
import speechlm_icl.auto  # noqa: F401
from benchmarks.gpu.tiny_models import save_meta_perser, save_speech_lm
from perser.cli.main import main
from perser.encoders.encoder import SpeechEncoder
from perser.inference.active_learning import suggest
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from speechlm_icl.model.processing import SpeechLMProcessor

SAVE = {"meta-perser": save_meta_perser, "speech-lm": save_speech_lm}
THREADS, ANSWERS, ENROLLMENTS = 16, 1500, 40
CLOSE = 1e-6
PERSONS = range(5)
CLIPS = [
    0.1 * np.random.default_rng(seed).standard_normal(4_000 + 400 * (seed % 3)).astype(np.float32)
    for seed in range(24)
]


@pytest.fixture(autouse=True)
def single_threaded_torch() -> Iterator[None]:
    """Sixteen threads that each start threads of their own would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=list(SAVE))
def folder(request, tmp_path_factory) -> Path:
    """A trained model of each route."""
    folder = tmp_path_factory.mktemp(request.param) / request.param
    SAVE[request.param](folder)
    return folder


@pytest.fixture
def recognizer(folder) -> Recognizer:
    return Recognizer.from_pretrained(folder)


def enroll(recognizer: Recognizer, person: int) -> PersonalRecognizer:
    """Enroll a person: as many clips as the number says, and two."""
    names = recognizer.emotions.names
    return recognizer.enroll(
        [
            (CLIPS[(5 * person + place) % len(CLIPS)], names[(place * (person + 1)) % 3])
            for place in range(person + 2)
        ]
    )


def answer(recognizer: Recognizer | PersonalRecognizer, clip: int) -> np.ndarray:
    """Return the probabilities of a clip, and those without the enrollment where there is one."""
    (prediction,) = recognizer.predict([CLIPS[clip]])
    found = [prediction] if prediction.unadapted is None else [prediction, prediction.unadapted]
    return np.array([list(each.probabilities.values()) for each in found])


def in_threads(jobs: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run jobs in threads; return what each returned or raised."""

    def run(job: Callable[[], Any]) -> Any:
        try:
            return job()
        except Exception as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, jobs))


def differs(found: Any, expected: np.ndarray) -> bool:
    return isinstance(found, Exception) or not np.allclose(found, expected, rtol=0, atol=CLOSE)


def modules_of(recognizer: Recognizer) -> list[nn.Module]:
    """Return the modules that all users of a recognizer share."""
    model = recognizer.model.model
    return [model, model.speech_encoder] if recognizer.model.route == "speech-lm" else [model]


def state(root: nn.Module) -> dict[str, Any]:
    """Return all of a module that an answer could change: tensors bit for bit, modes, hooks and settings."""
    found: dict[str, Any] = {}
    for name, tensor in (*root.named_parameters(), *root.named_buffers()):
        values = tensor.detach().contiguous().view(-1).view(torch.uint8)
        found[name] = (values.numpy().tobytes(), tensor.shape, tensor.requires_grad, tensor.grad is None)
    for name, module in root.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, bool | int | str)}
        found[f"{name}:"] = (type(module), plain, len(module._forward_hooks), len(module._forward_pre_hooks))
        if hasattr(config := getattr(module, "config", None), "to_dict"):
            found[f"{name}:config"] = (config.to_dict(), config._attn_implementation)
    return found


def test_every_thread_gets_the_answers_that_it_would_get_alone(recognizer):
    before = [state(module) for module in modules_of(recognizer)]
    askers = [recognizer, *(enroll(recognizer, person) for person in PERSONS)]
    expected = {
        (asker, clip): answer(askers[asker], clip)
        for asker in range(len(askers))
        for clip in range(len(CLIPS))
    }
    asked = [(number % len(askers), (11 * number) % len(CLIPS)) for number in range(ANSWERS)]
    enrolled = [(1 + number % len(PERSONS), number % len(CLIPS)) for number in range(ENROLLMENTS)]
    jobs = [lambda asker=asker, clip=clip: answer(askers[asker], clip) for asker, clip in asked]
    for number, (asker, clip) in enumerate(enrolled):  # spread over the answers
        place = number * (ANSWERS // ENROLLMENTS + 1)
        jobs.insert(place, lambda asker=asker, clip=clip: answer(enroll(recognizer, asker - 1), clip))
        asked.insert(place, (asker, clip))
    found = in_threads(jobs)
    wrong = [key for key, result in zip(asked, found, strict=True) if differs(result, expected[key])]
    assert len(found) == ANSWERS + ENROLLMENTS
    assert not wrong, f"{len(wrong)} are wrong"
    assert [state(module) for module in modules_of(recognizer)] == before
    assert not any(differs(answer(askers[asker], clip), expected[asker, clip]) for asker, clip in expected)


def test_a_model_is_bit_identical_after_any_use(recognizer, tmp_path):
    before = [state(module) for module in modules_of(recognizer)]
    personal = enroll(recognizer, 2)
    personal.predict(CLIPS)
    personal.save(tmp_path / "p")
    recognizer.personal(tmp_path / "p").predict(CLIPS[:1])
    suggest([recognizer, personal], CLIPS[:6], 2)
    recognizer.model.fingerprint()
    assert [state(module) for module in modules_of(recognizer)] == before


def test_an_exported_model_answers_alike_in_threads(folder, tmp_path):
    main(["export", "--model", str(folder), "--out", str(tmp_path / "mine")])
    if folder.name == "meta-perser":
        model = AutoModelForAudioClassification.from_pretrained(tmp_path / "mine")
        results = [lambda clip=clip: model(torch.from_numpy(clip)[None]).logits for clip in CLIPS]
    else:
        model = AutoModelForMultimodalLM.from_pretrained(tmp_path / "mine")
        processor = SpeechLMProcessor.from_pretrained(tmp_path / "mine")
        results = [lambda number=number: _reply(model, processor, number) for number in range(len(CLIPS))]
    with torch.no_grad():
        expected = [result() for result in results]
    before = state(model)
    found = in_threads(torch.no_grad()(results[number % len(CLIPS)]) for number in range(5 * len(CLIPS)))
    wrong = [number for number, result in enumerate(found) if differs(result, expected[number % len(CLIPS)])]
    assert not wrong
    assert state(model) == before


def _reply(model: nn.Module, processor: SpeechLMProcessor, number: int) -> torch.Tensor:
    """Return what a speech LM writes after two prompts, padded in one of two ways, and its logits."""
    options = {"padding": "max_length", "max_length": 24} if number % 2 else {"padding_side": "right"}
    texts = ["<|audio|> angry \n <|audio|>", "<|audio|>"]
    clips = [CLIPS[(number + place) % len(CLIPS)] for place in range(3)]
    inputs = processor(text=texts, audio=clips, return_tensors="pt", **options)
    written = model.generate(**inputs, max_new_tokens=3, do_sample=False)[:, -3:]
    return torch.cat([model(**inputs).logits[:, -1], written], dim=1)


def test_models_are_loaded_in_threads_while_others_answer(recognizer, folder):
    settings = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    fingerprint = SpeechEncoder.from_name("tiny-whisper", seed=3).fingerprint("all")
    expected = answer(recognizer, 0)
    kinds = (
        lambda: answer(Recognizer.from_pretrained(folder), 0),
        lambda: answer(recognizer, 0),
        lambda: SpeechEncoder.from_name("tiny-whisper", seed=3).fingerprint("all"),
    )
    found = in_threads(kinds[number % 3] for number in range(60))
    assert not any(differs(result, expected) for number, result in enumerate(found) if number % 3 < 2)
    assert {result for number, result in enumerate(found) if number % 3 == 2} == {fingerprint}
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == settings
