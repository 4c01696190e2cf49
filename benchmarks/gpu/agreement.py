"""Compare a GPU's results with the CPU's on tiny models: features, gradients, answers, profiles, checkpoints.

Without a GPU, the second run is on the CPU, too, which checks the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu.findings import Check, Seen, Settings
from benchmarks.gpu.precisions import products_in
from benchmarks.gpu.tiny_models import EMOTIONS, clips, save_meta_perser, save_speech_lm
from benchmarks.speed.maml import ours
from benchmarks.speed.maml.case import MamlCase, loss, make_case
from benchmarks.speed.maml.presets import TINY
from benchmarks.speed.speechlm.prompt_case import make_prompt_case
from benchmarks.speed.speechlm.prompt_presets import PROMPT_PRESETS
from benchmarks.speed.speechlm.supervised_labels import sequences, step
from benchmarks.speed.timing.rounds import Precision, distance
from meta_perser.options import Memory
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import encode_clips
from perser.encoders.loading import TINY_NAMES
from perser.inference.recognizer import PersonalRecognizer, Prediction, Recognizer
from perser.training.checkpoint import BestWeights, TrainingState, read_checkpoint, write_checkpoint

FLOAT32 = 1e-4
"""Largest distance of float32 results, relative to the CPU's."""

BF16 = 0.05
"""Largest distance of gradients in bf16 from the CPU's in float32. Its mantissa has 8 bits, and second
derivatives lose more of them than first ones."""

PROBABILITY = 1e-4
"""Largest difference of two probabilities."""

NUM_CLIPS, INNER_STEPS = 3, 2

Gradients = Callable[[str, Precision], list[Tensor]]
"""Returns gradients on the CPU, as computed on a device in a precision."""


def checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of this part."""
    device = settings.device
    for name in TINY_NAMES:
        yield f"features of {name}", partial(same_features, name, device)
    trainings: dict[str, Gradients] = {
        "pretrain": pretrain_gradients,
        "meta-train, unroll": partial(meta_train_gradients, memory="unroll"),
        "meta-train, adjoint": partial(meta_train_gradients, memory="adjoint"),
        "icl-train": icl_train_gradients,
    }
    tolerances: dict[Precision, float] = {"float32": FLOAT32, "bf16": BF16}
    for name, gradients in trainings.items():
        for precision, tolerance in tolerances.items():
            check = partial(same_gradients, gradients, device, precision, tolerance)
            yield f"gradients of {name}, {precision}", check
    for name, save in (("meta-perser", save_meta_perser), ("speech-lm", save_speech_lm)):
        folder = settings.folder / name
        yield f"answers of {name}, profiles", partial(same_answers, save, folder, device)
    for first, second in dict.fromkeys((("cpu", device), (device, "cpu"))):
        title = f"checkpoint of {first} resumed on {second}"
        yield title, partial(checkpoint_crosses, first, second, settings.folder / f"from-{first}")


def within(far: float, tolerance: float, text: str) -> Seen:
    """Return what was seen of a distance, and whether it is small enough."""
    return Seen(f"{text} {far:.1e} (at most {tolerance:.0e})", {"distance": far}, far <= tolerance)


def same_features(name: str, device: str) -> Seen:
    """Compare the features of an encoder, from front-end to time means."""
    expected, actual = (_features(name, place) for place in ("cpu", device))
    return within(distance(actual, expected), FLOAT32, "relative distance")


def _features(name: str, device: str) -> list[Tensor]:
    encoder = SpeechEncoder.from_name(name).to(device)
    waveforms = [waveform.to(device) for waveform in clips(NUM_CLIPS)]
    with products_in("float32"):
        return [features.cpu() for features in encode_clips(encoder, waveforms, "pooled")]


def same_gradients(gradients: Gradients, device: str, precision: Precision, tolerance: float) -> Seen:
    """Compare the gradients on the device with the CPU's in float32."""
    with products_in("float32"):
        expected, actual = gradients("cpu", "float32"), gradients(device, precision)
    return within(distance(actual, expected), tolerance, "relative distance")


def pretrain_gradients(device: str, precision: Precision) -> list[Tensor]:
    """Return the gradients of supervised training's loss with respect to all that moves."""
    case = make_case(TINY, NUM_CLIPS, device, precision)
    batch = ours.encode_anew(case)
    with case.autocast():
        value = loss(case.model(batch), case.targets)
    return _on_cpu(torch.autograd.grad(value, case.moving))


def meta_train_gradients(device: str, precision: Precision, memory: Memory) -> list[Tensor]:
    """Return the second-order gradients of the outer loss."""
    case = make_case(TINY, NUM_CLIPS, device, precision)
    source = ours.encode(case, None)
    return _on_cpu(ours.outer_gradients(case, source, INNER_STEPS, memory))


def icl_train_gradients(device: str, precision: Precision) -> list[Tensor]:
    """Return the gradients of projector and adapter of a speech LM."""
    preset = PROMPT_PRESETS["tiny"]
    with make_prompt_case(preset, device, precision) as case:
        torch.manual_seed(0)
        batch, features = sequences(case, preset)
        step(case, batch, features)
        trained = [parameter for parameter in case.model.parameters() if parameter.grad is not None]
        return _on_cpu([parameter.grad for parameter in trained])


def _on_cpu(tensors: list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
    return [tensor.float().cpu() for tensor in tensors]


def same_answers(save: Callable[[Path], None], folder: Path, device: str) -> Seen:
    """Compare the answers of a route on both devices, also by profiles enrolled on the other one."""
    save(folder)
    *enrolled, first, second = clips(6)
    examples = [(clip, EMOTIONS.names[number % 3]) for number, clip in enumerate(enrolled)]
    answers: dict[str, list[Prediction]] = {}
    with products_in("float32"):
        for here, there in (("cpu", device), (device, "cpu")):
            personal = Recognizer.from_pretrained(folder, here).enroll(examples)
            answers[f"enrolled on {here}"] = personal.predict([first, second])
            profile = folder / f"{here}.profile"
            personal.save(profile)
            loaded = PersonalRecognizer.load(profile, folder, there)
            answers[f"enrolled on {here}, asked on {there}"] = loaded.predict([first, second])
    expected = _probabilities(answers["enrolled on cpu"])
    far = max((_probabilities(answer) - expected).abs().max().item() for answer in answers.values())
    moved = max(_moved(prediction) for prediction in answers["enrolled on cpu"])
    seen = within(far, PROBABILITY, "probabilities differ by")
    if moved <= PROBABILITY:
        return Seen(f"the enrollment changes no answer ({moved:.1e})", seen.figures, passed=False)
    return seen


def _probabilities(predictions: list[Prediction]) -> Tensor:
    return torch.tensor([list(prediction.probabilities.values()) for prediction in predictions])


def _moved(prediction: Prediction) -> float:
    """Return how far the enrollment has moved a clip's probabilities."""
    assert prediction.unadapted is not None  # a profile answered
    plain = prediction.unadapted.probabilities
    return max(abs(value - plain[name]) for name, value in prediction.probabilities.items())


def checkpoint_crosses(first: str, second: str, folder: Path) -> Seen:
    """Train on one device, save, resume on the other, and compare a further step with that on the first."""
    case, state = _training(first)
    _take_steps(case, state, 2)
    write_checkpoint(folder, 2, *state.capture())
    (checkpoint,) = folder.iterdir()
    other, resumed = _training(second)
    resumed.restore(*read_checkpoint(checkpoint))
    _take_steps(case, state, 1)
    _take_steps(other, resumed, 1)
    far = distance(_on_cpu(other.moving), _on_cpu(case.moving))
    return within(far, FLOAT32, "relative distance after a further step")


def _training(device: str) -> tuple[MamlCase, TrainingState]:
    case = make_case(TINY, NUM_CLIPS, device)
    optimizer = torch.optim.AdamW(case.moving, lr=1e-3)
    return case, TrainingState(case.model, optimizer, None, BestWeights())


def _take_steps(case: MamlCase, state: TrainingState, steps: int) -> None:
    batch = ours.encode_anew(case)
    with products_in("float32"):
        for _ in range(steps):
            state.optimizer.zero_grad()
            loss(case.model(batch), case.targets).backward()
            state.optimizer.step()
