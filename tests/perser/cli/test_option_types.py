"""A wrong value gives one line: the option, where it was given, the value, the nearest word, what to give."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal

import pytest

from benchmarks.experiments.ablations import with_ablations
from benchmarks.experiments.options import QUICKSTART, read_experiment
from perser.cli.command import as_command
from perser.cli.parser import parse_command
from perser.errors import UserError

INTERNAL = ("Parser key", "Union", "Subtypes", "<class", "typing.", "jsonargparse", "pathlib", "NoneType")
"""What only the parser's own errors say."""


@dataclass(frozen=True)
class Split:
    """A split.

    Args:
        folds: how many.
        kind: of which kind.
    """

    folds: int = 4
    kind: Literal["unseen", "seen"] = "unseen"


def measure(
    out: Path,
    split: Split = Split(),
    methods: list[str] | None = None,
    episodes: list[Path] | Path | None = None,
    limit: int | None = None,
    rate: float = 0.1,
    turns: list[int] | Literal["all"] | None = None,
    modes: list[Literal["any", "missing"]] = [],  # noqa: B006
    granularity: Literal["off", "tensor", "module", False] = "off",
    targets: tuple[str, ...] = ("q_proj",),
    resume: bool = True,
) -> None:
    """Measure.

    Args:
        out: the folder to write; an older one is replaced.
        split: how it is split.
        methods: which.
        episodes: on what.
        limit: at most.
        rate: how fast.
        turns: which folds.
        modes: in which modes.
        granularity: how fine.
        targets: where.
        resume: whether to go on.
    """


WRONG = [
    ("--out x --limit many", "--limit: 'many', give a whole number or none"),
    ("--out x --limit 1.5", "--limit: '1.5', give a whole number or none"),
    ("--out x --limit", "--limit has no value: give a whole number or none"),
    ("--out x --rate fast", "--rate: 'fast', give a number"),
    ("--out x --resume maybe", "--resume: 'maybe', give true or false"),
    ("--out x --split.folds many", "--split.folds: 'many', give a whole number"),
    ("--out x --split.kind unsen", "--split.kind: 'unsen', did you mean unseen? Give unseen or seen"),
    ("--out x --granularity Tensors", "--granularity: 'Tensors', did you mean tensor? Give one of off, "),
    ("--out x --granularity row", "--granularity: 'row', give one of off, tensor, module"),
    ("--out x --turns al", "--turns: 'al', did you mean all? Give a list such as [1, 2] or all or none"),
    ("--out x --modes ayn", "--modes: 'ayn', did you mean any? Give a list such as [any, missing]"),
    (
        "--out x --split seen",
        "--split: 'seen', but it is a group of options: give --split.folds, --split.kind",
    ),
    ("--out x --metods a", "--metods is no option: did you mean --methods?"),
    ("--out x y", "'y' belongs to no option"),
    ("--out x -m a", "'-m a' belongs to no option"),
    ("--rate 1", "--out is missing: give the folder to write"),
    ("--config nowhere.yaml", "nowhere.yaml is not there"),
    ("--config", "--config has no value: give a YAML file of these options"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_a_wrong_value_is_one_line_with_what_to_give(line, message):
    with pytest.raises(UserError) as caught:
        parse_command(measure, line.split())
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("limit: many", "limit: 'many', give a whole number or none"),
        ("split: {kind: sen}", "split.kind: 'sen', did you mean seen? Give unseen or seen"),
        ("split: 3", "split: '3', but it is a group of options: give split.folds, split.kind"),
        ("rate: null", "rate: none, give a number"),
        ("split: {folds: null}", "split.folds: none, give a whole number"),
        ("out: [a]", "out: give a file or folder"),
        ("metods: a", "metods is no option: did you mean methods?"),
    ],
)
def test_a_wrong_value_in_a_file_is_named_with_the_file(content, message, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(f"{content}\n")
    with pytest.raises(UserError) as caught:
        parse_command(measure, ["--config", str(file), *([] if "out" in content else ["--out", "x"])])
    assert str(caught.value).startswith(f"{file}: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("out: a\nrate: 1\nout: b\n", "line 3: out is given twice, first in line 1"),
        (
            "out: a\nsplit:\n  folds: 1\n  kind: seen\n  folds: 2\n",
            "line 5: folds is given twice, first in line 3",
        ),
        ("out: a: b\n", "line 1: mapping values are not allowed here"),
        ("- a\n", "is no file of options"),
    ],
)
def test_a_file_that_says_a_key_twice_or_is_no_yaml_is_refused_with_the_line(content, message, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        parse_command(measure, ["--config", str(file)])
    assert str(file) in str(caught.value)


def test_a_key_may_be_in_two_groups_and_replace_that_of_a_merged_mapping(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("out: a\nsplit:\n  <<: &s {folds: 2, kind: seen}\n  folds: 3\n")
    assert parse_command(measure, ["--config", str(file)])["split"] == Split(3, "seen")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--methods a", {"methods": ["a"]}),
        ("--methods a b", {"methods": ["a", "b"]}),
        ("--methods a,b", {"methods": ["a", "b"]}),
        ("--methods=a b", {"methods": ["a", "b"]}),
        ("--methods [a, b]", {"methods": ["a", "b"]}),
        ("--methods speech-lm-8+orders=4", {"methods": ["speech-lm-8+orders=4"]}),
        ("--methods none", {"methods": None}),
        ("--limit none", {"limit": None}),
        ("--episodes=None", {"episodes": None}),
        ("--turns 3", {"turns": [3]}),
        ("--turns 1,2", {"turns": [1, 2]}),
        ("--turns all", {"turns": "all"}),
        ("--modes any", {"modes": ["any"]}),
        ("--targets q_proj v_proj", {"targets": ("q_proj", "v_proj")}),
        ("--episodes a,b.json", {"episodes": Path("a,b.json")}),
    ],
)
def test_words_without_brackets_are_a_list_where_an_option_takes_one(line, expected, tmp_path):
    values = parse_command(measure, ["--out", "x", *line.split()])
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("methods: a", ["a"]),
        ("turns: 3", [3]),
        ("turns: all", "all"),
        ("targets: v", ("v",)),
        ("methods:", None),
        ("methods: none", None),
        ("limit: None", None),
    ],
)
def test_one_value_in_a_file_is_a_list_of_one_where_an_option_takes_a_list(content, expected, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(f"out: x\n{content}\n")
    assert parse_command(measure, ["--config", str(file)])[content.partition(":")[0]] == expected


def test_an_ablation_with_a_wrong_value_says_it_the_same_way():
    meta_train = read_experiment(QUICKSTART)["meta_train"]
    with pytest.raises(UserError, match=r"ablations\.a\.lslr\.granularity: 'tensr', did you mean tensor"):
        with_ablations(["meta-perser"], meta_train, {"a": {"lslr": {"granularity": "tensr"}}})


@pytest.mark.parametrize("entry", entry_points(group="perser.commands"), ids=lambda entry: entry.name)
def test_no_command_shows_the_parsers_own_words(entry):
    """Options of every type, in groups or not, of every command with a value that fits none but free text."""
    command = as_command(entry.load())
    for option in options_of(command):
        try:
            parse_command(command, [f"--{option}", "]"])
        except UserError as error:
            message = str(error)
            assert not any(word in message for word in INTERNAL), message


def options_of(command) -> list[str]:
    from jsonargparse import ArgumentParser

    from perser.cli.options.types import option_types
    from perser.cli.parser import _add_parameters

    parser = ArgumentParser(exit_on_error=False)
    if command.add_arguments is None:
        _add_parameters(parser, command)
    else:
        command.add_arguments(parser)
    types = option_types(parser)
    # Parsing an experiment takes a fifth of a second: one option of each type and depth is tried.
    each = {
        (str(types[name]), name.count(".")): name for name in types if name not in ("help", "print_config")
    }
    return list(each.values())
