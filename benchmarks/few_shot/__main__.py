"""python -m benchmarks.few_shot --corpus DIR --model M --shots 1,2,5,8 --json FILE

Measure how well a model learns labels from a few of a person's clips, on any corpus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.few_shot.draws import Draw, Drawing, LabelWords, Setting, single_label_tasks
from benchmarks.few_shot.measure import METHODS, measure
from benchmarks.few_shot.models import Found, Models, Standardization, find, load, met
from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.corpora.listing import PersonAxis
from perser.device import set_tf32
from perser.distributed import compute_device
from perser.episodes.episode import Task, restrict, tasks_of
from perser.episodes.sampling import evenly_spaced
from perser.errors import UserError
from perser.io.files import check_outputs
from perser.io.json_files import write_json


def few_shot(
    corpus: Path,
    model: str,
    json: Path,
    person: Literal["speaker", "listener"] = "speaker",
    shots: str = "1,2,5,8",
    pairs: str = "",
    labels: LabelWords = "own",
    standardize: Standardization = "corpus",
    emotions: str = "",
    persons: int | None = None,
    draws: int = 3,
    asked: int = 200,
    seed: int = 0,
    cache: Path = Path("runs/cache"),
    device: str | None = None,
) -> None:
    """Measure how well a model learns labels from a few of a person's clips, on any corpus.

    Each person enrolls some clips and is asked about the others. The accuracy is averaged over persons, with
    95% intervals, for the speech LM, the same with the labels shuffled among the enrolled clips, Meta-PerSER
    with a new head, and nearest class mean and logistic regression on the same frozen features. The model
    need not know the corpus, its emotions or its language. What it met in training is left out.

    Args:
        corpus: a prepared corpus.
        model: a trained model of either route, or a folder with both, such as an experiment's.
        json: the file to write.
        person: whether a person is a speaker, with the consensus of the listeners as labels, or a listener.
        shots: how many clips of each class are enrolled, such as 1,2,5,8.
        pairs: how many clips drawn at random are enrolled, such as 0,8,32,48; empty: not measured.
        labels: the words that stand for the classes: the corpus's own, these permuted in each draw, or
            invented ones that mean nothing.
        standardize: whether features are standardized by all clips of this corpus, without their labels, by
            the enrolled clips, or as the model was trained.
        emotions: the classes to measure, such as neutral,sad; empty: all.
        persons: most persons to measure; none: all.
        draws: draws of each person and setting.
        asked: most clips that a person is asked about in a draw.
        seed: of the draws.
        cache: folder of the feature cache.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
    """
    counts: dict[Setting, list[int]] = {
        "shots": _counts("shots", shots, least=1),
        "pairs": _counts("pairs", pairs, least=0),
    }
    if not any(counts.values()):
        raise UserError("shots: nothing to measure, give numbers such as 1,2,5,8, or --pairs")
    for name, value in (("draws", draws), ("asked", asked), ("persons", persons)):
        if value is not None and value < 1:
            raise UserError(f"{name}: {value}, give at least 1")
    check_outputs(files={"json": json}, folders={"cache": cache})
    found, device = find(model), compute_device(device)
    loaded = Corpus.load(corpus)
    tasks, notes = _tasks(loaded, found, person, _classes(loaded, emotions), persons)
    drawing = Drawing(labels, asked, seed)
    drawn = {
        (setting, count): _draws(drawing, tasks, setting, count, draws)
        for setting, numbers in counts.items()
        for count in numbers
    }
    set_tf32(torch.device(device), allowed=True)
    models = load(found, loaded, cache, standardize, device)
    results = {
        "corpus": loaded.name,
        "simulated": loaded.simulated,
        "models": {route: str(folder) for route, (folder, _) in found.items()},
        "encoder": models.encoder,
        "person": person,
        "emotions": list(_classes(loaded, emotions)),
        "labels": labels,
        "standardize": standardize,
        "draws": draws,
        "seed": seed,
        "notes": notes,
    } | _measured(drawn, models)
    json.parent.mkdir(parents=True, exist_ok=True)
    write_json(json, results)
    print(f"{json}: written", *notes, sep="\n  ")


def _measured(drawn: dict[tuple[Setting, int], list[Draw]], models: Models) -> dict[str, Any]:
    """Measure all settings, and print a line for each."""
    parts: dict[str, Any] = {"shots": {}, "pairs": {}, "ahead": {}, "settings": {}}
    print(f"{'enrolled':<16}", *(f"{method:>20}" for method in (*METHODS, "chance")))
    for (setting, count), own in drawn.items():
        title = f"{count} a class" if setting == "shots" else f"{count} pairs"
        measured = measure(own, models, title)
        parts[setting][str(count)] = measured["rows"]
        parts["ahead"].setdefault(setting, {})[str(count)] = measured["ahead"]
        parts["settings"].setdefault(setting, {})[str(count)] = measured["setting"]
        cells = [_cell(measured["rows"][method]) for method in METHODS]
        print(f"{title:<16}", *(f"{cell:>20}" for cell in cells), f"{measured['setting']['chance']:>20.3f}")
        for method, problem in measured["setting"]["problems"].items():
            print(f"  {method}: {problem}")
    return parts


def _cell(row: dict[str, float] | None) -> str:
    return "-" if row is None else f"{row['mean']:.3f} ({row['low']:.3f}-{row['high']:.3f})"


def _counts(name: str, text: str, least: int) -> list[int]:
    """Return the numbers in a text such as `1,2,5`, ascending. Raises UserError for anything else."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        raise UserError(f"{name}: '{text}' is no list of whole numbers from {least}, such as 1,2,5,8")
    return sorted(set(map(int, parts)))


def _classes(corpus: Corpus, text: str) -> tuple[str, ...]:
    """Return the emotions to measure. Raises UserError for an unknown one, and for a single one."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        corpus.emotions.index(name)
    if len(names) == 1:
        raise UserError(f"emotions: only {names[0]}, give at least two")
    return names or corpus.emotions.names


def _tasks(
    corpus: Corpus, found: Found, axis: PersonAxis, classes: tuple[str, ...], most: int | None
) -> tuple[list[Task], list[str]]:
    """Return the persons' clips that no model has met, and what a reader should know about them."""
    tasks, notes = tasks_of(corpus, axis), []
    known = met(found, corpus, axis)
    if known is None:
        notes.append("not known: which recordings the model met in training; they may be among these")
    else:
        utterances, persons = known
        new = set(corpus.utterances) - utterances
        total = len(tasks)
        tasks = {name: restrict(task, new) for name, task in tasks.items() if name not in persons}
        tasks = {name: task for name, task in tasks.items() if task.utterances}
        if len(tasks) < total:
            notes.append(f"left out, because the model met them in training: {total - len(tasks)} {axis}s")
        if not tasks:
            raise UserError(
                f"corpus: the model has met every {axis} of {corpus.name} in training: give another corpus"
            )
    single, several = single_label_tasks(tasks, classes)
    if several:
        notes.append(f"left out, because they have several labels: {several} clips")
    return list(single if most is None else evenly_spaced(single, most)), notes


def _draws(drawing: Drawing, tasks: list[Task], setting: Setting, count: int, draws: int) -> list[Draw]:
    """Return the draws of all persons who have enough clips. Raises UserError where nobody has."""
    drawn = [drawing.draw(task, setting, count, number) for task in tasks for number in range(draws)]
    enough = [draw for draw in drawn if draw is not None]
    if not enough:
        needed = "of two classes" if setting == "shots" else "in all"
        raise UserError(f"{setting}: nobody has more than {count} clips {needed}: give a smaller number")
    return enough


if __name__ == "__main__":
    run_command(few_shot)
