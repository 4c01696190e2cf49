"""perser dynamic-superb --model runs/mine/models/speech-lm --instance DIR --out DIR

Instances of Dynamic-SUPERB, asked of a speech language model.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from benchmarks.dynamic_superb.answering import AnswerMode, SpeechLMAnswerer
from benchmarks.dynamic_superb.answers import Answered, Answerer, ask
from benchmarks.dynamic_superb.instance import Instance, read_instance
from benchmarks.dynamic_superb.kinds import Kind, settled_kind
from benchmarks.dynamic_superb.measures import (
    check_measurable,
    figures,
    labels_outside,
    outside_options,
    without_number,
)
from benchmarks.dynamic_superb.page import markdown, print_results
from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import atomic_folder, check_replaceable, write_text_atomic
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
    """Ask a speech LM the questions of Dynamic-SUPERB instances, and measure its answers.

    Writes answers.csv (every answer), results.json and report.md.

    Args:
        model: a model's folder or its name on the Hugging Face Hub.
        instance: folder with an instance.json; may be given several times.
        out: folder for the results.
        kind: classification, regression or generation; auto, by the metrics that an instance names.
        answer: generate, what the model writes; score, the likeliest of a classification's options.
        limit: how many items of each instance; none for all.
        max_new_tokens: longest answer.
        batch_size: how many questions are asked together.
    """
    for name, value in (("limit", limit), ("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}: give at least 1")
    check_replaceable(out, ANSWERS)
    asked = [(one, checked_kind(one, kind, answer)) for one in (read_instance(at, limit) for at in instance)]
    names = [one.name for one, _ in asked]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two instances have the name '{twice[0]}'")
    answerer = SpeechLMAnswerer(SpeechLMForICL.from_pretrained(model), max_new_tokens, answer)
    measured = [measured_instance(one, its_kind, answerer, batch_size) for one, its_kind in asked]
    results = {"model": model, "answer": answer, "limit": limit, "max_new_tokens": max_new_tokens}
    results["rows"] = [row for row, _ in measured]
    with atomic_folder(out, ANSWERS) as folder:
        write_answers(folder / ANSWERS, {row["instance"]: answers for row, answers in measured})
        write_text_atomic(folder / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
        write_text_atomic(folder / "report.md", markdown(results))
    print_results(results)


def checked_kind(instance: Instance, kind: Kind | Literal["auto"], answer: AnswerMode) -> Kind:
    """The instance's kind. Raises UserError for one that cannot be asked or measured so."""
    settled = settled_kind(kind, instance.metrics, instance.has_options, instance.name)
    if answer == "score" and not (settled == "classification" and instance.has_options):
        raise UserError(
            f"{instance.name}: only a classification's options can be scored: give --answer generate"
        )
    check_measurable(settled, [question.label for question in instance.questions], instance.name)
    return settled


def measured_instance(
    instance: Instance, kind: Kind, answerer: Answerer, batch_size: int = 8
) -> tuple[dict[str, Any], list[Answered]]:
    """An instance's row of results.json, and its answers."""
    start = time.perf_counter()
    answered, left_out = ask(instance, answerer, batch_size)
    seconds = time.perf_counter() - start
    metrics = {name: _written(asdict(one)) for name, one in figures(kind, answered).items()}
    main = next(iter(metrics))
    row = {"instance": instance.name, "version": instance.version, "kind": kind, "metric": main}
    row |= {"value": metrics[main]["mean"], "metrics": metrics, "named_metrics": list(instance.metrics)}
    row |= {"outside_options": outside_options(answered) if kind == "classification" else None}
    row |= {"labels_outside_options": labels_outside(answered) if kind == "classification" else 0}
    row |= {"without_number": without_number(answered) if kind == "regression" else None}
    return row | {"items": len(answered), "left_out": left_out, "seconds": seconds}, answered


def write_answers(path: Path, answers: dict[str, Sequence[Answered]]) -> None:
    """One line an item; `within_options` is empty for a question without options."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for instance, answered in answers.items():
            for one in answered:
                asked = one.question
                said = (one.answer, one.within_options, one.correct)
                writer.writerow((instance, asked.file, asked.instruction, asked.label, *said))


def _written(interval: dict[str, float]) -> dict[str, float | None]:
    """None for what has no value: JSON knows no nan."""
    return {name: value if math.isfinite(value) else None for name, value in interval.items()}


if __name__ == "__main__":
    run_command(dynamic_superb)
