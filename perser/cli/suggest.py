"""perser suggest --model DIR --pool DIR --n 8: choose the clips that a person should label next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perser.errors import UserError
from perser.io.terminal import as_shown, print_json

if TYPE_CHECKING:
    from perser.inference.active_learning import Judge, Suggestion
    from perser.labels import LabeledFile


def suggest(
    model: list[str],
    pool: Path,
    n: int = 8,
    profile: Path | None = None,
    examples: Path | None = None,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Suggest which clips of a pool a person should label next.
    They resemble many other clips on which the model is unsure (or two models disagree), and differ from
    those already labeled. On simulated listeners this has shown no certain gain over a random choice.

    Exits with 1 if a clip could not be used; the choice is then among the others.

    Args:
        model: a starter model, or the folder or Hugging Face name of a trained one; with two models, clips on
            which they disagree.
        pool: a folder of recordings, or a .txt list of them.
        n: how many to suggest.
        profile: the person's profile, from `perser enroll`; clips of the pool with the name of an enrolled
            one count as labeled.
        examples: instead of a profile, the clips that the person has labeled: a table with the columns
            path and emotions, or a folder with a folder for each emotion.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
        json: whether to print JSON instead of a table.

    Examples:
        perser suggest --model starter-icl --pool recordings --n 8
    """
    if profile is not None and examples is not None:
        raise UserError("give --profile or --examples, not both")
    if profile is not None and len(model) > 1:
        raise UserError("a profile is of one model: give --examples for several")
    from perser.inference.active_learning import suggest as choose_clips
    from perser.inference.clips import clip_paths, exit_after_failures, read_examples

    clips = clip_paths([pool])
    labeled_files = [] if examples is None else read_examples(examples)
    judges, enrolled = _judges(model, profile, labeled_files, device)
    labeled = [path for path in clips if path.name in enrolled] + [example.clip for example in labeled_files]
    known = {path.resolve() for path in labeled}
    unlabeled = [path for path in clips if path.resolve() not in known]
    suggestions, failures = choose_clips(judges, unlabeled, n, labeled)
    (_print_json if json else _print_table)(suggestions)
    exit_after_failures(failures)


def _judges(
    models: list[str],
    profile: Path | None,
    examples: list[LabeledFile],
    device: str | None,
) -> tuple[list[Judge], set[str]]:
    """Return the models, personalized where there are examples, and the names of a profile's clips."""
    from perser.inference.labeled_clips import check_known_labels
    from perser.inference.recognizer import PersonalRecognizer, Recognizer

    if profile is not None:
        personal = PersonalRecognizer.load(profile, models[0], device)
        return [personal], {clip.name for clip in personal.enrolled}
    plain = [Recognizer.from_pretrained(model, device) for model in models]
    for recognizer in plain:
        check_known_labels(examples, recognizer.emotions)
    pairs = [example.pair for example in examples]
    return [recognizer.enroll(pairs) for recognizer in plain] if pairs else list(plain), set()


def _print_json(suggestions: list[Suggestion]) -> None:
    """Print a list with an object for each clip: the fields of `Suggestion`."""
    from dataclasses import asdict

    print_json([asdict(suggestion) for suggestion in suggestions])


def _print_table(suggestions: list[Suggestion]) -> None:
    """Print a line for each clip."""
    names = [as_shown(suggestion.path) for suggestion in suggestions]
    width = max(map(len, names), default=0)
    print(f"{'clip':<{width}}  unsure  distance")
    for name, suggestion in zip(names, suggestions, strict=True):
        distance = "-" if suggestion.distance is None else f"{suggestion.distance:.2f}"
        print(f"{name:<{width}}  {suggestion.unsure:>6.2f}  {distance:>8}")
