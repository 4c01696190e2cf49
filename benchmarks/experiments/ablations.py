"""Ablations of meta-training: each names what it changes, and is trained and measured as a method of its own,
`meta-perser:NAME`, whose model is in the folder `meta-perser-NAME`. Some are known by name
(`meta_perser.variants`), others are defined in the experiment's file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from meta_perser.options import check_rates
from meta_perser.scope import check_scope
from meta_perser.training.outer_loop import OuterLoop
from meta_perser.variants import VARIANTS
from perser.cli.options.names import OptionNames
from perser.cli.options.types import explain
from perser.errors import UserError

PLAIN = "meta-perser"


def with_ablations(
    methods: Sequence[str], meta_train: Mapping[str, Any], ablations: Mapping[str, Any]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the methods followed by the ablations', and the options of meta-training by the model's folder.

    An ablation that is listed and not defined in the file is a variant that is known by name. Raises
    UserError, which names the key, for an option or value that does not exist, or an ablation that is
    neither.
    """
    ablated = [f"{PLAIN}:{name}" for name in ablations]
    known = {}
    for method in methods:
        plain = method.partition("+")[0]
        name = plain.removeprefix(f"{PLAIN}:")
        if ":" not in plain or plain in ablated:
            continue
        if name not in VARIANTS or name == plain:
            choice = [*ablated, *(f"{PLAIN}:{variant}" for variant in VARIANTS)]
            raise UserError(f"bench.methods: '{plain}' is none of the ablations ({', '.join(choice)})")
        known[name] = VARIANTS[name].changes(meta_train["inner"])
    options = {PLAIN: dict(meta_train)}
    for name, changes in {**known, **ablations}.items():
        options[f"{PLAIN}-{name}"] = _changed(meta_train, name, changes)
    for model, chosen in options.items():
        where = "meta_train" if model == PLAIN else f"ablations.{model.removeprefix(f'{PLAIN}-')}"
        try:
            check_scope(chosen["scope"])
            check_rates(chosen["inner"], chosen["outer"], chosen["lslr"])
            switches = ("inner", "outer", "csmt", "derivative_annealing", "multi_step_loss")
            OuterLoop(**{switch: chosen[switch] for switch in switches})
        except UserError as error:
            raise UserError(f"{where}.{error}") from error
    listed = {method.partition("+")[0] for method in methods}
    return [*methods, *(method for method in ablated if method not in listed)], options


def _changed(meta_train: Mapping[str, Any], name: str, changes: Any) -> dict[str, Any]:
    """Return the options with an ablation's changes, whose names and types are checked like a config's."""
    from jsonargparse import ArgumentError, ArgumentParser

    from meta_perser.train import meta_train as stage

    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"ablations: '{name}' cannot name a folder: letters, digits, '-', '_' and '.' only")
    parser = ArgumentParser(exit_on_error=False)
    # An ablation can change only what the experiment does not fill in.
    filled_in: set[str | int] = {
        option for option in inspect.signature(stage).parameters if option not in meta_train
    }
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
        inside = asdict(value) if is_dataclass(value) and not isinstance(value, type) else None
        written |= (
            {key: value} if inside is None else {f"{key}.{name}": entry for name, entry in inside.items()}
        )
    return written
