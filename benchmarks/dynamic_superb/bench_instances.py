"""perser dynamic-superb --model runs/mine/models/speech-lm --instance DIR --out DIR

Ask a speech language model the instances of Dynamic-SUPERB, and measure its answers.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.dynamic_superb.answer_metrics import (
    Kind,
    check_measurable,
    labels_outside,
    measure_answers,
    outside_options,
    resolve_kind,
    without_number,
)
from benchmarks.dynamic_superb.ask import AnsweredItem, Answerer, ask_instance
from benchmarks.dynamic_superb.audio_llm_answerer import PLACEHOLDER, AudioLLMAnswerer
from benchmarks.dynamic_superb.instance import Instance, read_instance
from benchmarks.dynamic_superb.results_table import markdown, print_results
from benchmarks.dynamic_superb.speech_lm_answerer import AnswerMode, SpeechLMAnswerer
from perser.cli.main import run_command
from perser.device import loading_on
from perser.distributed import compute_device
from perser.errors import UserError
from perser.io.files import atomic_folder, check_output, write_text_atomic
from perser.io.hub import trained_model_folder
from perser.io.json_files import read_json
from speechlm_icl.audio_llm.families import TRAINED, is_audio_llm
from speechlm_icl.audio_llm.loading import load_audio_llm
from speechlm_icl.model.speech_lm import SpeechLMForICL

ANSWERS = "answers.csv"

COLUMNS = ("instance", "file", "instruction", "label", "answer", "within_options", "correct")


def dynamic_superb(
    model: str,
    instance: list[Path],
    out: Path,
    kind: Kind | Literal["auto"] = "auto",
    answer: AnswerMode = "generate",
    limit: int | None = None,
    max_new_tokens: int = 32,
    batch_size: int = 8,
) -> None:
    """Ask a speech language model the questions of Dynamic-SUPERB instances, and measure its answers.

    Writes answers.csv (every answer), results.json and report.md. The model computes on the GPU if there is
    one.

    Args:
        model: a model's folder or its name on the Hugging Face Hub; a ready audio LLM, too.
        instance: folder with an instance.json; may be given several times.
        out: folder for the results.
        kind: classification, regression or generation; auto: by the metrics that an instance names.
        answer: generate: what the model writes; score: the likeliest of a classification's options.
        limit: how many items of each instance; none: all.
        max_new_tokens: longest answer, in tokens.
        batch_size: how many items are asked together.

    Examples:
        perser dynamic-superb --model runs/quickstart/models/speech-lm --instance data/instances/emotion
            --out runs/dynamic-superb
    """
    for name, value in (("limit", limit), ("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}: give at least 1")
    check_output(out, ANSWERS)
    instances = [read_instance(folder, limit) for folder in instance]
    kinds = [checked_kind(each, kind, answer) for each in instances]
    names = [each.name for each in instances]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two instances have the name '{repeated[0]}'")
    answerer = load_answerer(model, compute_device(), max_new_tokens, answer)
    measured = [
        measure_instance(each, its_kind, answerer, batch_size)
        for each, its_kind in zip(instances, kinds, strict=True)
    ]
    results: dict[str, Any] = {"model": model, "answer": answer, "limit": limit}
    results["max_new_tokens"] = max_new_tokens
    results["rows"] = [row for row, _ in measured]
    with atomic_folder(out, ANSWERS) as folder:
        write_answers(folder / ANSWERS, {row["instance"]: answers for row, answers in measured})
        write_text_atomic(folder / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
        write_text_atomic(folder / "report.md", markdown(results))
    print_results(results)


def load_answerer(name: str, device: str, max_new_tokens: int, answer: AnswerMode) -> Answerer:
    """Return what answers items: a model that was trained here, or a ready audio LLM."""
    folder = trained_model_folder(name)
    if is_audio_llm(read_json(folder / "config.json")) or (folder / TRAINED).is_file():
        return AudioLLMAnswerer(load_audio_llm(folder, PLACEHOLDER, name, device), max_new_tokens, answer)
    return SpeechLMAnswerer(load_model(name, device), max_new_tokens, answer)


def load_model(name: str, device: str) -> SpeechLMForICL:
    """Return a speech language model on a device."""
    with loading_on(device):
        model = SpeechLMForICL.from_pretrained(name)
    return model if device == "cpu" else model.to(device)


def checked_kind(instance: Instance, kind: Kind | Literal["auto"], answer: AnswerMode) -> Kind:
    """Return the instance's kind. Raises UserError where it cannot be asked or measured in this way."""
    resolved = resolve_kind(kind, instance.metrics, instance.has_options, instance.name)
    if answer == "score" and not (resolved == "classification" and instance.has_options):
        raise UserError(
            f"{instance.name}: only a classification's options can be scored: give --answer generate"
        )
    check_measurable(resolved, [item.label for item in instance.items], instance.name)
    return resolved


def measure_instance(
    instance: Instance, kind: Kind, answerer: Answerer, batch_size: int = 8
) -> tuple[dict[str, Any], list[AnsweredItem]]:
    """Ask an instance; return its row of results.json, and its answers."""
    start = time.perf_counter()
    answered, left_out = ask_instance(instance, answerer, batch_size)
    seconds = time.perf_counter() - start
    metrics = {
        name: _finite(interval.as_json()) for name, interval in measure_answers(kind, answered).items()
    }
    main = next(iter(metrics))
    row: dict[str, Any] = {
        "instance": instance.name,
        "version": instance.version,
        "kind": kind,
        "metric": main,
    }
    row |= {"value": metrics[main]["mean"], "metrics": metrics, "named_metrics": list(instance.metrics)}
    row |= {"outside_options": outside_options(answered) if kind == "classification" else None}
    row |= {"labels_outside_options": labels_outside(answered) if kind == "classification" else 0}
    row |= {"without_number": without_number(answered) if kind == "regression" else None}
    return row | {"items": len(answered), "left_out": left_out, "seconds": seconds}, answered


def write_answers(path: Path, answers: dict[str, Sequence[AnsweredItem]]) -> None:
    """Write a line for each item; `within_options` is empty for an item without options."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for instance, answered in answers.items():
            for each in answered:
                item = each.item
                result = (each.answer, each.within_options, each.correct)
                writer.writerow((instance, item.file, item.instruction, item.label, *result))


def _finite(interval: Mapping[str, float]) -> dict[str, float | None]:
    """Return the interval with None in place of nan, which JSON does not have."""
    return {name: value if math.isfinite(value) else None for name, value in interval.items()}


if __name__ == "__main__":
    run_command(dynamic_superb)
