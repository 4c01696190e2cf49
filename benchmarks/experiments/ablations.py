"""Variants of meta-training for an ablation: each says what differs, and is trained and measured as a method
of its own, `meta-perser:NAME`, from the model in `meta-perser-NAME`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from meta_perser.scope import check_scope
from meta_perser.training.outer_loop import OuterLoop
from perser.errors import UserError

PLAIN = "meta-perser"


def with_ablations(
    methods: Sequence[str], meta_train: Mapping[str, Any], ablations: Mapping[str, Any]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The methods with each variant's after them, and the options of meta-training by the model's folder.

    Raises UserError, naming the key, for what is no option, no value of it, or no variant.
    """
    named = [f"{PLAIN}:{name}" for name in ablations]
    for method in methods:
        if ":" in method and method not in named:
            raise UserError(f"bench.methods: '{method}' is none of the variants ({_listed(named)})")
    options = {PLAIN: dict(meta_train)}
    for name, changes in ablations.items():
        options[f"{PLAIN}-{name}"] = _changed(meta_train, name, changes)
    for model, one in options.items():
        where = "meta_train" if model == PLAIN else f"ablations.{model.removeprefix(f'{PLAIN}-')}"
        try:
            check_scope(one["scope"])
            switches = ("inner", "outer", "csmt", "derivative_annealing", "multi_step_loss")
            OuterLoop(**{switch: one[switch] for switch in switches})
        except UserError as error:
            raise UserError(f"{where}.{error}") from error
    return [*methods, *(one for one in named if one not in methods)], options


def _changed(meta_train: Mapping[str, Any], name: str, changes: Any) -> dict[str, Any]:
    """The options with a variant's changes, their names and types checked as those of a config are."""
    from jsonargparse import ArgumentError, ArgumentParser

    from meta_perser.train import meta_train as stage

    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"ablations: '{name}' cannot name a folder: letters, digits, '-', '_' and '.' only")
    parser = ArgumentParser(exit_on_error=False)
    # Only what the experiment does not fill in itself is there to be changed.
    parser.add_function_arguments(stage, as_positional=False, skip=_parameters(stage) - set(meta_train))
    try:
        merged = _merge(_plain(meta_train), changes, f"ablations.{name}")
        return dict(parser.instantiate(parser.parse_object(merged)).as_dict())
    except (ArgumentError, ValueError, TypeError) as error:
        raise UserError(f"ablations.{name}: {' '.join(str(error).split())}") from error


def _merge(options: dict[str, Any], changes: Any, where: str) -> dict[str, Any]:
    if not isinstance(changes, Mapping):
        raise UserError(f"{where}: {changes} where keys of meta_train and their values belong")
    for key in changes:
        if key not in options:
            raise UserError(f"{where}.{key} is no option: there are {_listed(options)}")
    return options | {
        key: _merge(options[key], value, f"{where}.{key}") if isinstance(options[key], dict) else value
        for key, value in changes.items()
    }


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: asdict(value) if is_dataclass(value) else value for key, value in options.items()}


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
