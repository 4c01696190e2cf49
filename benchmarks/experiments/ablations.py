"""Ablations of meta-training: each names what it changes, and is trained and measured as a method of its own,
`meta-perser:NAME`, whose model is in the folder `meta-perser-NAME`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from meta_perser.options import check_steps
from meta_perser.scope import check_scope
from meta_perser.training.outer_loop import OuterLoop
from perser.cli.option_names import OptionNames
from perser.cli.option_types import explain
from perser.errors import UserError

PLAIN = "meta-perser"


def with_ablations(
    methods: Sequence[str], meta_train: Mapping[str, Any], ablations: Mapping[str, Any]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the methods followed by the ablations', and the options of meta-training by the model's folder.

    Raises UserError, which names the key, for an option or value that does not exist, or an ablation that is
    listed but not defined.
    """
    ablated = [f"{PLAIN}:{name}" for name in ablations]
    for method in methods:
        if ":" in method and method not in ablated:
            raise UserError(f"bench.methods: '{method}' is none of the ablations ({_listed(ablated)})")
    options = {PLAIN: dict(meta_train)}
    for name, changes in ablations.items():
        options[f"{PLAIN}-{name}"] = _changed(meta_train, name, changes)
    for model, chosen in options.items():
        where = "meta_train" if model == PLAIN else f"ablations.{model.removeprefix(f'{PLAIN}-')}"
        try:
            check_scope(chosen["scope"])
            check_steps(chosen["inner"], chosen["lslr"])
            switches = ("inner", "outer", "csmt", "derivative_annealing", "multi_step_loss")
            OuterLoop(**{switch: chosen[switch] for switch in switches})
        except UserError as error:
            raise UserError(f"{where}.{error}") from error
    return [*methods, *(method for method in ablated if method not in methods)], options


def _changed(meta_train: Mapping[str, Any], name: str, changes: Any) -> dict[str, Any]:
    """Return the options with an ablation's changes, whose names and types are checked like a config's."""
    from jsonargparse import ArgumentError, ArgumentParser

    from meta_perser.train import meta_train as stage

    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"ablations: '{name}' cannot name a folder: letters, digits, '-', '_' and '.' only")
    parser = ArgumentParser(exit_on_error=False)
    # An ablation can change only what the experiment does not fill in.
    filled_in = set(inspect.signature(stage).parameters) - set(meta_train)
    parser.add_function_arguments(stage, as_positional=False, skip=filled_in)
    merged = _merge(meta_train, changes, f"ablations.{name}")
    try:
        return dict(parser.instantiate(parser.parse_object(merged)).as_dict())
    except (ArgumentError, ValueError, TypeError) as error:
        raise UserError(f"ablations.{name}.{explain(error, parser, {}).removeprefix('--')}") from error


def _merge(meta_train: Mapping[str, Any], changes: Any, where: str) -> dict[str, Any]:
    """Return the options of meta-training, written out by their dotted names, with the changes."""
    if not isinstance(changes, Mapping):
        raise UserError(f"{where}: {changes} where keys of meta_train and their values belong")
    options = _written_out(meta_train)
    try:
        resolved = OptionNames(options).resolve_all(changes)
    except UserError as error:
        raise UserError(f"{where}.{error}") from error
    for key, value in resolved.items():
        if key not in options:
            raise UserError(f"{where}.{key}: {value} where keys of {key} and their values belong")
    return options | resolved


def _written_out(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with each dataclass's as entries of their own, such as `outer.learning_rate`."""
    written: dict[str, Any] = {}
    for key, value in options.items():
        inside = asdict(value) if is_dataclass(value) else None
        written |= (
            {key: value} if inside is None else {f"{key}.{name}": entry for name, entry in inside.items()}
        )
    return written


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
