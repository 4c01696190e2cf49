"""One turn of an experiment: a split of the corpus with its own models, and the settings measured on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from perser.episodes.sampling import EnrollmentMode
from perser.episodes.splits import SplitOptions
from perser.errors import UserError


class Setting(NamedTuple):
    """What one file of episodes is drawn with: K, and which emotions a support has."""

    k: int
    mode: EnrollmentMode


@dataclass(frozen=True)
class Turn:
    """One split of the corpus, in its own folder where there are several."""

    folder: Path
    split: SplitOptions
    usual: Setting
    """What the models are trained with; a stage or file of another setting says in its name what differs."""
    prefix: str = ""
    """What the names of its stages begin with."""

    def episodes(self, setting: Setting) -> Path:
        return self.folder / f"episodes{self._differing(setting, '-k', '-')}.json"

    def scores(self, setting: Setting) -> Path:
        return self.folder / f"scores{self._differing(setting, '-k', '-')}.json"

    def stage(self, name: str, setting: Setting) -> str:
        return f"{self.prefix}{name}{self._differing(setting, ' k=', ' ')}"

    def _differing(self, setting: Setting, before_k: str, before_mode: str) -> str:
        k = "" if setting.k == self.usual.k else f"{before_k}{setting.k}"
        return k + ("" if setting.mode == self.usual.mode else f"{before_mode}{setting.mode}")


def plan_turns(
    turns: list[int] | Literal["all"] | None, split: SplitOptions, usual: Setting, out: Path
) -> list[Turn]:
    """The folds that are tested, each as a turn. Raises UserError for a fold that is not there, or twice."""
    if turns is None:
        return [Turn(out, split, usual)]
    folds = list(range(split.folds)) if turns == "all" else list(turns)
    if not folds or len(set(folds)) < len(folds) or not set(folds) <= set(range(split.folds)):
        raise UserError(
            f"turns: {folds}, give folds from 0 to {split.folds - 1} (draw.split.folds), none twice, or all"
        )
    return [Turn(out / f"turn-{fold}", replace(split, fold=fold), usual, f"turn-{fold} ") for fold in folds]


def plan_settings(usual: Setting, sizes: list[int], modes: list[EnrollmentMode]) -> list[Setting]:
    """The usual one, the other K, and the other modes with the usual K; each once."""
    others = [Setting(k, usual.mode) for k in sorted(sizes)] + [Setting(usual.k, mode) for mode in modes]
    return list(dict.fromkeys([usual, *others]))
