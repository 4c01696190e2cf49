"""The help of a command's options in plain words: what an option takes, and what it is by default."""

from __future__ import annotations

import argparse
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from perser.cli.options.types import NOTHING, WORDS, describe

OPTIONS_FILE = "a YAML file of these options"
_CONFIGURATION_FILE = "Path to a configuration file."
"""What jsonargparse says of a file for a group of options."""

SAID_ELSEWHERE = ("", WORDS[str], WORDS[bool])
"""Descriptions that say nothing beside the option's own."""
DEFAULTS = {"null": "none", "[]": "none", "{}": "none", "True": "true", "False": "false", "": "empty"}
"""How defaults are spelled in the help, by Python's spelling."""


class PlainHelp(DefaultHelpFormatter):
    """Says types as errors do ("a whole number or none"), instead of in Python's spelling."""

    def _get_type_str(self, action: argparse.Action) -> str | None:
        """Return what the option takes; None where its choices or its description say it already."""
        hint: Any = getattr(action, "_typehint", action.type)
        said = "" if hint is None else describe(hint)
        if action.default is None:
            said = said.removesuffix(f" or {NOTHING[0]}")
        has_choices = str(action.metavar).startswith("{")
        return None if has_choices or said in SAID_ELSEWHERE else said

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.dest == "print_config":
            return "Print these options as a YAML file and exit."
        if action.help == _CONFIGURATION_FILE:
            return OPTIONS_FILE
        return super()._get_help_string(action).replace("type: %(type)s", "%(type)s")

    def _expand_help(self, action: argparse.Action) -> str:
        text = super()._expand_help(action)
        for python, plain in DEFAULTS.items():
            text = text.replace(f"default: {python})", f"default: {plain})")
        return text


def use_plain_names(parser: ArgumentParser) -> None:
    """Name the groups of options, and the values of options that take paths, in plain words.

    The group of the command's own options has the command's description as its title until then.
    """
    for action in parser._actions:
        if "PATH" in str(action.metavar):
            action.metavar = action.dest.rpartition(".")[2].upper()
    for group in parser._action_groups:
        if group.title and _words(group.title) == _words(parser.description or ""):
            group.title = f"options of {parser.prog}"
        elif group.title == "options":
            group.title = "help and files of options"


def _words(text: str) -> list[str]:
    return text.rstrip(".").split()
