"""perser predict --profile FILE CLIP ...: predict which emotions a person would hear in new clips.

Without a profile: perser predict --model DIR --enroll a.wav=angry b.wav=happy,excited -- CLIP ...
"""

from __future__ import annotations

import csv
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from perser.cli.command import Command
from perser.cli.enroll import model_at, refuse_profile_of_probabilities, refuse_with_probabilities
from perser.errors import UserError
from perser.io.terminal import as_shown, print_json

if TYPE_CHECKING:  # jsonargparse imports these, so that none of them may import torch
    from perser.inference.prediction import AnswersClips, Classification, Prediction
    from perser.labels import Emotions, LabeledFile


def predict(
    clips: tuple[str, ...] = (),
    profile: Path | None = None,
    model: str | None = None,
    enroll: tuple[str, ...] = (),
    open_labels: bool = False,
    device: str | None = None,
    json: bool = False,
    csv: bool = False,
    probabilities: Path | None = None,
    endpoint: str | None = None,
) -> None:
    """Predict which emotions a person would hear in clips, with and without their enrollment.

    Exits with 1 if a clip could not be used; the other clips are answered.

    Args:
        clips: recordings, folders of them, or .txt lists of them; --clips may be left out before their names.
        profile: a file that `perser enroll` wrote.
        model: a trained model: starter, starter-icl, a folder or a Hugging Face name; with a profile: its
            model, if that has been moved.
        enroll: instead of a profile: clip=emotion or clip=emotion,emotion for each labeled clip; -- ends the
            list.
        open_labels: whether the emotions of --enroll are words of your own, which the answers choose among.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
        json: whether to print JSON instead of a table.
        csv: whether to print CSV instead of a table.
        probabilities: with a profile that was made from probabilities: a table of what the tool says of the
            clips; without names of clips, all its rows are answered.
        endpoint: instead of a profile: where the model is, if it is an audio LLM that a server answers for
            (see `perser enroll`); `model` is then its name there.

    Examples:
        perser predict clip.wav --profile alice.profile
        perser predict clip.wav --model starter --enroll a.wav=angry b.wav=happy
    """
    if json and csv:
        raise UserError("give --json or --csv, not both")
    print_predictions = _print_json if json else _print_csv if csv else _print_table
    if probabilities is not None:
        others = {"model": model, "enroll": enroll, "open_labels": open_labels, "device": device}
        others["endpoint"] = endpoint
        _answer_probabilities(probabilities, profile, clips, others, print_predictions)
        return
    if profile is not None:
        refuse_profile_of_probabilities(profile)
    if not clips:
        raise _no_clips(enroll)
    model = model_at(endpoint, model, profile, device)
    _check_given(profile, model, enroll, open_labels)
    from perser.inference.clips import clip_paths
    from perser.inference.labeled_clips import check_open_labels, parse_example

    paths, examples = clip_paths(clips), [parse_example(example, open_labels) for example in enroll]
    if open_labels:
        check_open_labels(examples)
    _answer(_recognizer(profile, model, examples, open_labels, device), paths, print_predictions)


def _check_given(profile: Path | None, model: str | None, enroll: Sequence[str], open_labels: bool) -> None:
    """Raise UserError for options of `predict` that leave out the model, or do not go together."""
    if profile is None and model is None:
        raise UserError("give --profile FILE (of `perser enroll`), or --model DIR, with --enroll or without")
    if profile is not None and enroll:
        raise UserError("give --profile or --enroll, not both: `perser enroll` makes a new profile")
    if open_labels and not enroll:
        raise UserError("open_labels: there is nothing to learn them from: give --enroll with it")


def _can_be_clip(text: str) -> bool:
    """Return whether a text is like the name of a file, or is one."""
    return bool(Path(text).suffix) or os.path.lexists(text)


COMMAND = Command(predict, positional="clips", is_word=_can_be_clip, lists=("enroll",))


def _no_clips(enroll: Sequence[str]) -> UserError:
    """Return the error for a command without clips; it says where --enroll has taken them."""
    strays = [word for word in enroll if "=" not in word]
    if strays:
        before = " ".join(shlex.quote(word) for word in enroll if word not in strays)
        after = " ".join(map(shlex.quote, strays))
        return UserError(
            f"clips: none given, because --enroll takes all words up to the next option, also {after}: "
            f"end its list with --, as in `--enroll {before or 'CLIP=EMOTION'} -- {after}`"
        )
    return UserError("clips: none given: name recordings, folders or lists, behind -- if --enroll is used")


def _recognizer(
    profile: Path | None,
    model: str | None,
    examples: list[LabeledFile],
    open_labels: bool,
    device: str | None,
) -> AnswersClips:
    from perser.inference.labeled_clips import check_known_labels
    from perser.inference.recognizer import PersonalRecognizer, Recognizer
    from perser.installed_routes import check_enrollment

    if profile is not None:
        return PersonalRecognizer.load(profile, model, device)
    assert model is not None  # `predict` refuses neither
    if examples:
        check_enrollment(model)
    recognizer = Recognizer.from_pretrained(model, device)
    if not open_labels:
        check_known_labels(examples, recognizer.emotions)
    pairs = [example.pair for example in examples]
    return recognizer.enroll(pairs, labels="open" if open_labels else "known") if pairs else recognizer


def _answer_probabilities(
    probabilities: Path,
    profile: Path | None,
    clips: Sequence[str],
    others: Mapping[str, object],
    print_predictions: Callable[[Emotions, Sequence[Prediction]], None],
) -> None:
    """Print what a person would hear in the clips of a table, or in those of them that are named.

    `others`: the options that need a model, by name.
    """
    from perser.inference.probability_profile import ProbabilityProfile
    from perser.inference.probability_table import ProbabilityTable

    refuse_with_probabilities(others)
    if profile is None:
        raise UserError("give --profile FILE (of `perser enroll --probabilities`) with --probabilities")
    personal = ProbabilityProfile.load(profile)
    table = ProbabilityTable.read(probabilities, personal.emotions.names)
    rows = [table.row_of(clip, Path()) for clip in clips]
    answers = personal.predict(table)
    known = [answers[row] for row in rows if row is not None] if clips else answers
    print_predictions(personal.emotions.names, known)
    for clip in [clip for clip, row in zip(clips, rows, strict=True) if row is None]:
        print(f"perser: {clip}: {probabilities} has no row for it", file=sys.stderr)
    if None in rows:
        raise SystemExit(1)


def _answer(
    recognizer: AnswersClips,
    paths: list[Path],
    print_predictions: Callable[[Emotions, Sequence[Prediction]], None],
) -> None:
    """Print the predictions, with a progress bar if there are many clips; then name the clips that failed."""
    from perser.inference.clips import CLIPS_AT_ONCE, Failure, exit_after_failures
    from perser.progress import progress_bar

    results = []
    with progress_bar(len(paths), unit="clip", hidden=len(paths) <= CLIPS_AT_ONCE) as bar:
        for result in recognizer.stream(paths):
            results.append(result)
            bar.update()
    failures = [result for result in results if isinstance(result, Failure)]
    predictions = [result for result in results if not isinstance(result, Failure)]
    print_predictions(recognizer.emotions.names, predictions)
    exit_after_failures(failures)


def _print_json(emotions: Emotions, predictions: Sequence[Prediction]) -> None:
    """Print a list with an object for each clip: the fields of `Prediction`."""
    print_json([asdict(prediction) for prediction in predictions])


def _print_csv(emotions: Emotions, predictions: Sequence[Prediction]) -> None:
    """Print a row for each clip: path, labels (separated by `;`), confidence, and each emotion's probability.

    The same columns follow with names that begin with `unadapted_`; they are empty without an enrollment.
    """
    columns = ["labels", "confidence", *emotions]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", *columns, *(f"unadapted_{column}" for column in columns)])
    for prediction in predictions:
        unadapted = prediction.unadapted
        without = [""] * len(columns) if unadapted is None else _csv_cells(unadapted)
        writer.writerow([prediction.path, *_csv_cells(prediction), *without])


def _print_table(emotions: Emotions, predictions: Sequence[Prediction]) -> None:
    """Print a line for each clip, and below it what the answer would be without the enrollment."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("clip", "labels", box=None, header_style="bold")
    for heading in ("sure", *emotions):
        table.add_column(heading, justify="right", no_wrap=True)
    names = [as_shown(prediction.path) for prediction in predictions]
    for name, prediction in zip(names, predictions, strict=True):
        table.add_row(Text(name, overflow="fold"), *_table_cells(prediction))
        if prediction.unadapted is not None:
            table.add_row("  without enrollment", *_table_cells(prediction.unadapted), style="dim")
    console = Console()
    if not console.is_terminal:  # a pipe has no width, so the table may be as wide as it needs
        console = Console(
            width=max(console.width, 40 + max(map(len, names), default=20) + 10 * len(emotions))
        )
    console.print(table)


def _csv_cells(answer: Classification) -> list[str]:
    figures = (answer.confidence, *answer.probabilities.values())
    return [";".join(answer.labels), *(f"{figure:.6f}" for figure in figures)]


def _table_cells(answer: Classification) -> list[str]:
    figures = (answer.confidence, *answer.probabilities.values())
    return [", ".join(answer.labels) or "-", *(f"{figure:.2f}" for figure in figures)]
