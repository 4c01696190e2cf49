"""The option names and defaults of version 0.1.0, so that what it finished or stopped can still be used.

The command line reads the names too: an old one gives an error that says the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RENAMED = {
    "meta-train": {"outer.iterations": "outer.steps", "outer.persons": "outer.batch_size"},
    "icl-train": {
        "sequences_per_step": "batch_size",
        "accumulate": "gradient_accumulation_steps",
        "align_steps": "projector_steps",
        "align_learning_rate": "projector_learning_rate",
    },
}
"""From a name of version 0.1.0 to today's, by command."""

RENAMED_OPTIONS = {old: new for names in _RENAMED.values() for old, new in names.items()}
"""The same for all commands. In an experiment the names follow `meta_train.` or `icl_train.`."""

RENAMED_STAGES = {"align": "pretrain-projector"}

_DEFAULTS_SINCE: dict[str, dict[str, Any]] = {
    "pretrain": {"steps": None, "warmup": 0.1, "clip_norm": 1.0, "validate_every": None}
    | {"head_learning_rate": None, "selection": "maF1"}
    | {"standardize": True, "dropout": 0.0, "mask_time": 0.0},
    "meta-train": {
        "outer": {
            "warmup": 0.1,
            "head_learning_rate": 1e-3,
            "update": "maml",
            "strengths_learning_rate": 0.1,
            "f1_weight": 0.0,
        },
        "inner": {"moves": "scope", "solver": "steps"},
        "fresh_head": False,
        "selection": "maF1",
    },
    "icl-train": {
        "permute_labels_end": None,
        "label_words": "own",
        "label_subsets": 0.0,
        "balanced_starts": 0.0,
        "projector_mixup": 0.0,
        "merged_labels": 0.0,
        "other_answers": 0.0,
        "drawn_styles": 0.0,
        "first_answers": 0,
        "standardize": "together",
        "matched": False,
        "opinion_pool": False,
        "selection": "log_loss",
    },
}
"""Options that version 0.1.0 did not have, by command, with the values that it used."""

_MODEL_SINCE = {"prompt": {"bind": False, "other": "other"}, "lora": {"audio": False}}
"""The same for what are options of the command and of a speech language model."""


def upgrade_options(command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a command of version 0.1.0 in today's names, with what it did not name."""
    upgraded = _renamed(options, _RENAMED.get(command, {}))
    inner = upgraded.get("inner")
    if isinstance(inner, Mapping) and inner.get("memory") == "checkpoint":
        upgraded["inner"] = {**inner, "memory": "adjoint"}  # the same gradients, and now the only such option
    if isinstance(upgraded.get("lslr"), Mapping):
        upgraded["lslr"] = _upgraded_rates(upgraded["lslr"])
    return _merge(_DEFAULTS_SINCE.get(command, {}), upgraded)


def downgrade_options(command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a command as version 0.1.0 would have written them, where it could."""
    if isinstance(options.get("lslr"), Mapping):
        options = {**options, "lslr": _downgraded_rates(options["lslr"])}
    earlier = {new: old for old, new in _RENAMED.get(command, {}).items()}
    known = _without(_MODEL_SINCE, options) if command == "icl-train" else options
    return _renamed(_without(_DEFAULTS_SINCE.get(command, {}), known), earlier)


def upgrade_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a `run.json` (what is trained) as today's code would write it."""
    upgraded = dict(training)
    for key in ("options", "loop"):
        if isinstance(upgraded.get(key), Mapping):
            upgraded[key] = upgrade_options(str(training.get("command")), upgraded[key])
    if isinstance(upgraded.get("lslr"), Mapping):
        upgraded["lslr"] = _upgraded_rates(upgraded["lslr"])
    if isinstance(upgraded.get("model"), Mapping):  # a newer transformers does not make it another training
        upgraded["model"] = {
            name: value for name, value in upgraded["model"].items() if name != "transformers_version"
        }
        since = {name: value for name, value in _MODEL_SINCE.items() if name in upgraded["model"]}
        upgraded["model"] = _merge(since, upgraded["model"])
    return upgraded


def _upgraded_rates(lslr: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of learned rates, of which version 0.1.0 learned the positive ones relative to their
    start and the others as they are. Where none are learned, the other options mean nothing."""
    if lslr["granularity"] == "off":
        return {**lslr, "beyond": "initial", "relative": True}
    return {"relative": lslr["sign"] == "positive", **lslr}


def _downgraded_rates(lslr: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of learned rates as version 0.1.0 wrote them, where it had such rates."""
    earlier = {name: value for name, value in lslr.items() if name != "relative"}
    if lslr["granularity"] == "off":
        return {**earlier, "beyond": "last"}
    return earlier if _upgraded_rates(earlier) == lslr else dict(lslr)


def _renamed(options: Mapping[str, Any], names: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for name, value in options.items():
        new = names.get(prefix + name, prefix + name).removeprefix(prefix)
        renamed[new] = _renamed(value, names, f"{name}.") if isinstance(value, Mapping) else value
    return renamed


def _merge(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, and the defaults of those that are missing."""
    merged = dict(options)
    for name, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = _merge(value, merged[name])
        else:
            merged.setdefault(name, value)
    return merged


def _without(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without those that have their default."""
    kept: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping) and isinstance(defaults.get(name), Mapping):
            kept[name] = _without(defaults[name], value)
        elif name not in defaults or value != defaults[name]:
            kept[name] = value
    return kept
