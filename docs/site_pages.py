"""A hook of mkdocs (mkdocs.yml). Make the pages of the site that are no files in docs/: the home page from
README.md, a page for every command from its parser, and what else of the repository a reader needs. Let links
that lead out of docs/ lead to these pages; a link to any other file becomes the file's name."""

from __future__ import annotations

import io
import os
import posixpath
import re
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from perser.cli.command import COMMANDS, Command, as_command, examples, first_paragraph
from perser.cli.parser import parse_command

ROOT = Path(__file__).parents[1]
WHOLE_FILES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "results.md",
}
"""Files outside docs/ that are pages of the site, too."""
COMMAND_PAGES = "reference/commands"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
NETWORK_SCRIPT = re.compile(r'<script src="https://unpkg.com/iframe-worker/shim"></script>')
"""With it, the theme's plugin `offline` searches pages that are opened from a folder."""
SEARCH_SCRIPT = "assets/search_from_a_folder.js"
"""Does the same without the network."""
WIDTH = "100"
"""Columns of a command's help."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the commands below their overview, in the navigation."""
    os.environ["COLUMNS"] = WIDTH
    overview = f"{COMMAND_PAGES}/index.md"
    for section in config.nav or []:
        for items in section.values():
            for item in items if isinstance(items, list) else []:
                if isinstance(item, dict) and item.get("Commands") == overview:
                    item["Commands"] = [overview, *(f"{COMMAND_PAGES}/{name}.md" for name in entry_points())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files in docs/."""
    pages = {page: (ROOT / file).read_text(encoding="utf-8") for file, page in WHOLE_FILES.items()}
    for name, content in (pages | command_pages()).items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links that lead out of docs/ lead to pages of the site."""
    places = {site: file for file, site in WHOLE_FILES.items()}
    file = places.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def replaced(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        linked = page_of(file, target)
        if linked is None:
            return text
        path, hash_sign, anchor = linked.partition("#")
        if "://" not in linked and path:
            path = posixpath.relpath(path, posixpath.dirname(page.file.src_uri) or ".")
        return f"{image}[{text}]({path}{hash_sign}{anchor})"

    return LINK.sub(replaced, markdown)


def on_post_template(output_content: str, **_: Any) -> str:
    """Remove the theme's script from the network in pages without a source, such as 404.html."""
    return NETWORK_SCRIPT.sub("", output_content)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Put a script of ours in place of the one that the theme would get from the network."""
    place = posixpath.relpath(SEARCH_SCRIPT, posixpath.dirname(page.file.dest_uri) or ".")
    return NETWORK_SCRIPT.sub(f'<script src="{place}"></script>', output)


def page_of(file: str, target: str) -> str | None:
    """Return the page or address that a link in a file of the repository leads to; None if there is none."""
    path, hash_sign, anchor = target.partition("#")
    if "://" in target or not path:
        return target
    linked = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
    if linked == "docs":
        return "index.md"
    if linked not in WHOLE_FILES and not linked.startswith("docs/"):
        return None
    return WHOLE_FILES.get(linked, linked.removeprefix("docs/")) + hash_sign + anchor


def entry_points() -> dict[str, EntryPoint]:
    """Return the commands of this repository by their names, in alphabetical order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = sorted(project["entry-points"][COMMANDS].items())
    return {name: EntryPoint(name, value, COMMANDS) for name, value in listed}


def command_pages() -> dict[str, str]:
    """Return a page for each command of `perser`, and one that lists them, by their names."""
    commands = {name: as_command(entry.load()) for name, entry in entry_points().items()}
    rows = [
        f"| [`perser {name}`]({name}.md) | {first_paragraph(command.function).splitlines()[0]} |"
        for name, command in commands.items()
    ]
    overview = ["# Commands", "", "| command | what it does |", "|---|---|", *rows, ""]
    pages = {f"{COMMAND_PAGES}/{name}.md": command_page(name, command) for name, command in commands.items()}
    return {f"{COMMAND_PAGES}/index.md": "\n".join(overview)} | pages


def command_page(name: str, command: Command) -> str:
    """Return a command's page: what it does, its examples, and its options as `--help` prints them."""
    usage = help_of(name, command).partition("usage: ")[2]
    return "\n\n".join(
        [
            f"# perser {name}",
            first_paragraph(command.function),
            "\n".join(["```bash", *examples(command.function), "```"]),
            f"```text\nusage: {usage.strip()}\n```",
        ]
    )


def help_of(name: str, command: Command | Callable[..., None]) -> str:
    """Return what `perser NAME --help` prints."""
    os.environ["COLUMNS"] = WIDTH
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            parse_command(command, ["--help"], f"perser {name}")
    except SystemExit:
        pass
    return printed.getvalue()
