"""The corpora in `test_on`: those that an experiment measures its models on beside their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.experiments.folds import Fold, Setting
from benchmarks.oracles import is_oracle
from perser.cli.options.types import explain
from perser.episodes.splits import OPEN, Scenario, SplitOptions
from perser.errors import UserError, nearest, saying_where
from perser.installed_routes import learns_labels

if TYPE_CHECKING:
    from benchmarks.experiments.options import TestLabels

KEY = "test_on"

OWN_KEYS = ("folder", "q")
"""What an entry may say beside the options of `perser prepare`."""

MANY = ("manifest", "huggingface")
"""Readers of any corpus, whose name says nothing about it."""


@dataclass(frozen=True)
class OtherCorpus:
    """A corpus that nobody was trained on.

    Args:
        source: A prepared folder; None where it is prepared in the run.
        prepare: The options of `perser prepare` otherwise.
        q: Utterances of a query.
        fold: The folder of its episodes and scores, and the split: everyone is tested.
    """

    source: Path | None
    prepare: Mapping[str, Any] | None
    q: int
    fold: Fold

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.fold.folder.name

    @property
    def prepared(self) -> Path:
        """The folder of the corpus with all its emotions."""
        return self.fold.folder / "prepared" if self.source is None else self.source

    @property
    def corpus(self) -> Path:
        """The folder of the corpus as it is measured."""
        return self.fold.folder / "corpus"

    def settings(self, settings: Sequence[Setting]) -> list[Setting]:
        """Return those of the settings that it can be measured in: open episodes have one mode only."""
        if not self.fold.split.is_open:
            return list(settings)
        return [setting for setting in settings if setting.mode == "any"]

    def methods(self, methods: Sequence[str]) -> tuple[str, ...]:
        """Return those of the methods that can be measured on it: oracles know the training corpus alone, and
        not every method can learn open labels."""
        able = [name for name in methods if not is_oracle(name)]
        return tuple(name for name in able if not self.fold.split.is_open or learns_labels(name))


def plan_other_corpora(
    entries: Sequence[str | Mapping[str, Any]],
    labels: TestLabels,
    out: Path,
    usual: Setting,
    scenario: Scenario,
    q: int,
    seed: int,
) -> list[OtherCorpus]:
    """Return the corpora in `test_on`.

    Args:
        entries: What the experiment's file says.
        labels: How emotions are answered (`test_labels`).
        out: The run's folder.
        usual: The setting that the models are trained with.
        scenario: The scenario on the training corpus.
        q: The usual number of utterances of a query.
        seed: Of corpora that are simulated, where they have none.

    Raises UserError for an entry that is neither a folder nor options of `perser prepare`.
    """
    split = SplitOptions(scenario=_scenario(labels, scenario)) if entries else SplitOptions()
    planned: list[OtherCorpus] = []
    for place, entry in enumerate(entries):
        where = f"{KEY}[{place}]"
        own, source, prepare = read_entry(entry, where, seed, OWN_KEYS)
        own_q = own.get("q", q)
        if not isinstance(own_q, int) or isinstance(own_q, bool) or own_q < 1:
            raise UserError(f"{where}.q: {own_q}, give a whole number from 1")
        name = entry_name(source, prepare, [other.name for other in planned])
        fold = Fold(out / KEY / name, split, usual, f"{KEY} {name} ")
        if prepare is not None:
            prepare = prepare | {"out": fold.folder / "prepared"}
        planned.append(OtherCorpus(source, prepare, own_q, fold))
    return planned


def check_entries(others: Sequence[OtherCorpus], trained: Sequence[object], methods: Sequence[str]) -> None:
    """Raise UserError for what is wrong with the entries themselves: options that `perser prepare` refuses, a
    corpus that is given twice, or no method that could be measured.

    `trained` are the identities (`identity_of`) of the corpora that are trained on.
    """
    known: dict[object, str] = dict.fromkeys(trained, "the corpus that is trained on")
    for other in others:
        check_entry(f"{KEY} ({other.name})", other.prepare)
        identity = identity_of(other.source, other.prepare)
        if identity in known:
            where = f"{described(other.source, other.prepare)} is {known[identity]}"
            raise UserError(f"{KEY}: {other.name} is given twice ({where}): leave one out")
        known[identity] = f"also {other.name}"
        if not other.methods(methods):
            raise UserError(f"{KEY}: none of bench.methods can be measured on {other.name}: list others")


def _scenario(labels: TestLabels, scenario: Scenario) -> Scenario:
    """Return the scenario in which everyone of another corpus is tested."""
    if scenario in OPEN:
        return "test-open"
    axis = SplitOptions(scenario=scenario).person_axis
    if labels == "shared":
        return "test-speakers" if axis == "speaker" else "test-listeners"
    if axis == "listener":
        raise UserError(
            "test_labels: open labels are measured on speakers alone, and draw.split.scenario is "
            f"{scenario}: give shared, or the scenario speaker"
        )
    return "test-open"


def read_entry(
    entry: str | Mapping[str, Any], where: str, seed: int, own_keys: Sequence[str]
) -> tuple[dict[str, Any], Path | None, dict[str, Any] | None]:
    """Return what an entry says besides `perser prepare`, its prepared folder, and the options of `perser
    prepare` where it has no folder; see `prepare_options`.

    Raises UserError for an entry that is neither a folder nor such options.
    """
    values = {"folder": entry} if isinstance(entry, str) else dict(entry)
    own = {name: values.pop(name) for name in own_keys if name in values}
    if "folder" not in own:
        return own, None, prepare_options(values, where, seed, own_keys)
    if values:
        raise UserError(f"{where}: folder and {', '.join(values)}: give a prepared folder or options")
    return own, Path(str(own["folder"])), None


def check_entry(where: str, prepare: Mapping[str, Any] | None) -> None:
    """Raise UserError for options that `perser prepare` refuses; None for a prepared folder."""
    from perser.cli.prepare import check_prepare

    if prepare is not None:
        with saying_where(where):
            check_prepare(**{name: value for name, value in prepare.items() if name != "allow_skips"})


def prepare_options(
    values: Mapping[str, Any], where: str, seed: int, own_keys: Sequence[str]
) -> dict[str, Any]:
    """Return the options of `perser prepare` in an entry, whose names and types are checked like a config's.

    Args:
        values: What the entry says.
        where: Its place in the file, for messages.
        seed: Of a corpus that is simulated, where it has none.
        own_keys: What an entry may say besides.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    from perser.cli.prepare import prepare

    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(prepare, as_positional=False, skip={"out"})
    known = {action.dest.partition(".")[0] for action in parser._actions} - {"help"}
    for name in values:
        if name not in known:
            closest = nearest(str(name), [*known, *own_keys])
            hint = (
                f"did you mean {closest}?"
                if closest
                else f"give {', '.join(sorted(known))} or {own_keys[-1]}"
            )
            raise UserError(f"{where}.{name} is no option of prepare: {hint}")
    if "corpus" not in values:
        raise UserError(f"{where}: no corpus and no folder: give one of them")
    try:
        options = dict(parser.instantiate(parser.parse_object(dict(values))).as_dict())
    except (ArgumentError, ValueError, TypeError) as error:
        raise UserError(f"{where}.{explain(error, parser, {}).removeprefix('--')}") from error
    if options["corpus"] == "simulated" and options["seed"] is None:
        options["seed"] = seed
    return options


def entry_name(source: Path | None, prepare: Mapping[str, Any] | None, taken: Sequence[str]) -> str:
    """Return a name for the folder of an entry's corpus that no other one has."""
    if source is not None:
        text = source.resolve().name if source.name != "corpus" else source.resolve().parent.name
    else:
        assert prepare is not None  # an entry has either
        text = str(prepare["corpus"])
        if text in MANY:
            text = Path(prepare["root"]).stem if prepare["root"] else str(prepare["dataset"].name)
    base = re.sub(r"[^\w.-]+", "-", text).strip("-.") or "corpus"
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def identity_of(source: Path | None, prepare: Mapping[str, Any] | None) -> object:
    """Return a value that is the same for the same recordings, as far as can be told without reading them."""
    if source is not None:
        return source.resolve()
    assert prepare is not None  # an entry has either
    root = prepare["root"]
    return (
        prepare["corpus"],
        None if root is None else Path(root).resolve(),
        str(prepare["dataset"]),
        prepare["seed"] if root is None else None,
    )


def described(source: Path | None, prepare: Mapping[str, Any] | None) -> str:
    """Return where the recordings of an entry come from, for messages."""
    if source is not None:
        return str(source)
    assert prepare is not None  # an entry has either
    root, seed = prepare["root"], prepare["seed"]
    return prepare["corpus"] + (f" in {root}" if root else f" with seed {seed}" if seed is not None else "")
