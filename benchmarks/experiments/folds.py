"""The folds of an experiment, each with its own models, and the settings that are measured on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from perser.episodes.sampling import EnrollmentMode
from perser.episodes.splits import SplitOptions
from perser.errors import UserError


class Setting(NamedTuple):
    """What the episodes of one file have in common: K, and which emotions a support has."""

    k: int
    mode: EnrollmentMode


@dataclass(frozen=True)
class Fold:
    """One split of the corpus and the folder of its models, episodes and scores.

    Args:
        folder: the run's folder, or one below it if several folds are tested.
        split: which persons and utterances are tested, and which are trained on.
        usual: the setting that the models are trained with; files and stages of other settings have what
            differs in their names.
        prefix: the beginning of the names of the fold's stages.
    """

    folder: Path
    split: SplitOptions
    usual: Setting
    prefix: str = ""

    def episodes(self, setting: Setting) -> Path:
        return self.folder / f"episodes{self._difference(setting, '-k', '-')}.json"

    def scores(self, setting: Setting) -> Path:
        return self.folder / f"scores{self._difference(setting, '-k', '-')}.json"

    def stage(self, name: str, setting: Setting) -> str:
        return f"{self.prefix}{name}{self._difference(setting, ' k=', ' ')}"

    def _difference(self, setting: Setting, before_k: str, before_mode: str) -> str:
        k = "" if setting.k == self.usual.k else f"{before_k}{setting.k}"
        return k + ("" if setting.mode == self.usual.mode else f"{before_mode}{setting.mode}")


@dataclass(frozen=True)
class TrainedFold:
    """The models that are trained on a fold with one seed, and their scores.

    Args:
        fold: the split, and the episodes.
        seed: of the trainings.
        methods: what is measured with these models.
        own_folder: whether they have a folder of their own in the fold's, and stages of their own; the models
            of the experiment's own seed have not.
    """

    fold: Fold
    seed: int
    methods: tuple[str, ...]
    own_folder: bool = False

    @property
    def folder(self) -> Path:
        return self.fold.folder / self._name if self.own_folder else self.fold.folder

    @property
    def prefix(self) -> str:
        """The beginning of the names of its stages."""
        return f"{self.fold.prefix}{self._name} " if self.own_folder else self.fold.prefix

    @property
    def _name(self) -> str:
        return f"train-seed-{self.seed}"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def scores(self, setting: Setting) -> Path:
        return self.folder / self.fold.scores(setting).name

    def stage(self, name: str, setting: Setting) -> str:
        return self.prefix + self.fold.stage(name, setting).removeprefix(self.fold.prefix)


def plan_trainings(
    fold: Fold, seed: int, train_seeds: Sequence[int], methods: Sequence[str], trained: Sequence[str]
) -> list[TrainedFold]:
    """Return the trainings on a fold: one for each of the seeds, or one with the experiment's own seed.

    The first one measures all methods, the others those that are trained.
    """
    seeds = list(train_seeds) or [seed]
    found = []
    for place, chosen in enumerate(seeds):
        measured = tuple(method for method in methods if place == 0 or method in trained)
        if measured:
            found.append(TrainedFold(fold, chosen, measured, own_folder=chosen != seed))
    return found


def plan_folds(
    folds: list[int] | Literal["all"] | None, split: SplitOptions, usual: Setting, out: Path
) -> list[Fold]:
    """Return the folds to test; with None, the one of `split`, in the run's own folder.

    Raises UserError for a number that is no fold, or is listed twice.
    """
    if folds is None:
        return [Fold(out, split, usual)]
    numbers = list(range(split.folds)) if folds == "all" else list(folds)
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(split.folds)):
        raise UserError(
            f"folds: {numbers}, give numbers from 0 to {split.folds - 1} (draw.split.folds - 1), none twice, "
            "or all"
        )
    names = {number: _folder_name(out, number) for number in numbers}
    return [
        Fold(out / name, replace(split, fold=number), usual, f"{name} ") for number, name in names.items()
    ]


def _folder_name(out: Path, number: int) -> str:
    """Return the name of a fold's folder: `fold-N`, or `turn-N` if version 0.1.0 has made that one."""
    earlier = f"turn-{number}"
    return earlier if (out / earlier).is_dir() else f"fold-{number}"


def plan_settings(usual: Setting, sizes: list[int], modes: list[EnrollmentMode]) -> list[Setting]:
    """Return the usual setting, then the other K, then the other modes with the usual K; each once."""
    others = [Setting(k, usual.mode) for k in sorted(sizes)] + [Setting(usual.k, mode) for mode in modes]
    return list(dict.fromkeys([usual, *others]))
