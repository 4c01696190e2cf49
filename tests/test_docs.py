"""The documents are right: every command parses, every named file exists, the Python examples run."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser as torchrun_parser

from benchmarks.few_shot.__main__ import few_shot
from benchmarks.results_page import results_page
from perser.cli.command import as_command, examples
from perser.cli.main import USES
from perser.cli.parser import parse_command
from perser.corpora.readers.simulated import EMOTIONS
from perser.encoders.encoder import SpeechEncoder
from perser.installed_routes import method_routes
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMANDS = {
    name: EntryPoint(name, value, "perser.commands")
    for name, value in PROJECT["entry-points"]["perser.commands"].items()
}
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/**/*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *PAGES)
NAMING_FILES = (
    "CONTRIBUTING.md",
    "docs/adding_a_corpus.md",
    "docs/how_to/compare.md",
    "docs/how_to/corpora.md",
    "docs/how_to/personalize.md",
    "docs/how_to/train.md",
    "docs/tutorials/eight_gpus.md",
    "docs/tutorials/iemocap.md",
    "docs/tutorials/new_label.md",
)
CHECKS = ("ruff format --check .", "ruff check .", "lint-imports", "mypy", "pytest")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TASK = re.compile(r"^\| ([\w -]+) \| `([\w/.]+)` \| `(\w+)` \|$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
QUOTED = re.compile(r"`([^`\n]+)`")
OUR_FOLDERS = "docs|configs|perser|meta_perser|speechlm_icl|benchmarks|tests|\\.ci"
OUR_FILE = re.compile(rf"(?:{OUR_FOLDERS})/[\w./-]*|[\w-]+\.(?:toml|txt|md|yaml)")
OUTPUTS = {"ceiling.md", "log.txt", "report.md", "controls.md", "paper_tables.md"}


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def fenced(document: str, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text_of(document)) if kind == language]


def shell_commands(document: str) -> Iterator[str]:
    """Yield every command of a document's shell blocks, with continued lines joined and `a && b` split."""
    for block in fenced(document, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from (part.strip() for part in line.split("&&") if part.strip())


SHELL = [(document, command) for document in DOCUMENTS for command in shell_commands(document)]


def check_perser(words: list[str]) -> None:
    name, *arguments = words
    command = as_command(COMMANDS[name].load())
    if command.requested_switch(arguments) is None:
        parse_command(command, arguments)


def check_module(module: str, arguments: list[str]) -> None:
    """Check the options of `python -m module`, which are those of the command in that module."""
    (entry,) = [command for command in COMMANDS.values() if command.module == module]
    parse_command(entry.load(), arguments)


def check_torchrun(words: list[str]) -> None:
    parsed = torchrun_parser().parse_args(words)
    assert parsed.module
    check_module(parsed.training_script, parsed.training_script_args)


def check_accelerate(words: list[str]) -> None:
    parsed = launch_command_parser().parse_args(words[1:])
    assert words[0] == "launch"
    assert parsed.module
    check_module(parsed.training_script, parsed.training_script_args)


def check_pip(words: list[str]) -> None:
    assert words[:2] == ["install", "-e"]
    extras = re.fullmatch(r"\.\[([\w,-]+)\]", words[2])
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert words[3:] == ["-c", "constraints.txt"]


def check_python(words: list[str]) -> None:
    """Check the options of a program that is no command of `perser`."""
    programs = {"benchmarks.few_shot": few_shot, "benchmarks.results_page": results_page}
    assert words[0] == "-m"
    parse_command(programs[words[1]], words[2:])


PROGRAMS = {
    "python": check_python,
    "perser": check_perser,
    "torchrun": check_torchrun,
    "accelerate": check_accelerate,
    "pip": check_pip,
}


@pytest.mark.parametrize(("document", "command"), SHELL, ids=lambda text: text[:60])
def test_a_command_parses(document, command, monkeypatch):
    monkeypatch.chdir(ROOT)  # --config files are opened
    words = shlex.split(command)
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if words[0] in PROGRAMS:
        PROGRAMS[words[0]](words[1:])
    elif words[0] == "export":  # variables of the environment
        assert all(re.fullmatch(r"[A-Z_]+=\S*", word) for word in words[1:])
    else:
        assert command in CHECKS or words[:2] == ["pre-commit", "install"], f"unchecked command in {document}"


def examples_of(name: str) -> tuple[str, ...]:
    return examples(as_command(COMMANDS[name].load()).function)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_begins_with_examples_of_it_that_parse(name, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)  # --config files are opened
    with pytest.raises(SystemExit):
        parse_command(COMMANDS[name].load(), ["--help"], f"perser {name}")
    shown = capsys.readouterr().out.partition("\nusage: ")[0].replace("\\\n", "").splitlines()
    assert shown[0] in ("example:", "examples:")
    for line in filter(None, shown[1:]):
        program, command, *arguments = shlex.split(line)
        assert (program, command) == ("perser", name)
        check_perser([command, *arguments])
    assert len(shown) - 1 == len(examples_of(name)) > 0


def test_the_commands_of_the_three_uses_parse(monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = [line for line in USES.replace("\\\n", "").splitlines() if line.startswith("  perser ")]
    assert len(lines) == 4
    for line in lines:
        check_perser(shlex.split(line)[1:])


def test_an_option_that_does_not_exist_is_noticed():
    with pytest.raises(Exception, match="stepz"):
        check_torchrun(shlex.split("-m meta_perser.train --corpus a --inner.stepz 1"))


def test_the_first_screen_has_the_two_commands():
    first_screen = "\n".join(text_of("README.md").splitlines()[:25])
    assert "\npip install -e '.[quickstart]' -c constraints.txt && perser quickstart\n" in first_screen
    assert "\npip install -e '.[test]' -c constraints.txt && pytest\n" in first_screen


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_relative_link_is_broken(document):
    folder = (ROOT / document).parent
    relative = [target for target in LINK.findall(text_of(document)) if "://" not in target]
    assert [target for target in relative if not (folder / target.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("document", NAMING_FILES)
def test_every_named_file_exists(document):
    prose = FENCE.sub("", text_of(document))
    named = {quoted for quoted in QUOTED.findall(prose) if OUR_FILE.fullmatch(quoted)} - OUTPUTS
    assert named
    assert sorted(file for file in named if not (ROOT / file).exists()) == []


def test_the_entry_points_shown_are_real():
    blocks = [tomllib.loads(block)["project"]["entry-points"] for block in fenced("CONTRIBUTING.md", "toml")]
    assert [list(block) for block in blocks] == [["perser.corpora"], ["perser.routes"], ["perser.commands"]]
    for block in blocks:
        for group, members in block.items():
            assert members.items() <= PROJECT["entry-points"][group].items()


TASKS = TASK.findall(text_of("CONTRIBUTING.md").partition("## Where to change what")[2])


def test_contributing_ends_with_the_table_of_tasks():
    assert len(TASKS) == 10
    task, file, name = TASKS[-1]
    assert text_of("CONTRIBUTING.md").endswith(f"| {task} | `{file}` | `{name}` |\n")


@pytest.mark.parametrize(("task", "file", "name"), TASKS, ids=[task for task, *_ in TASKS])
def test_the_file_of_a_task_defines_what_the_table_names(task, file, name):
    defined = set()
    for node in ast.parse(text_of(file)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        if isinstance(node, ast.Assign):
            defined.update(ast.unparse(target) for target in node.targets)
    assert name in defined


def test_every_method_and_corpus_is_in_the_documents():
    quoted = set(QUOTED.findall(text_of("docs/reference/methods.md") + text_of("docs/how_to/corpora.md")))
    methods = method_routes()
    corpora = PROJECT["entry-points"]["perser.corpora"]
    assert {*methods, *corpora} - {"speech-lm", "audio-llm"} <= quoted
    assert {"speech-lm-8", "speech-lm-32", "audio-llm:NAME-8"} <= quoted


@pytest.mark.parametrize("page", ["docs/how_to/compare.md", "docs/tutorials/own_recordings.md"])
def test_a_page_about_own_recordings_has_the_quickstarts_emotions(page):
    assert f"--emotions '{';'.join(EMOTIONS.names)}'" in text_of(page)


def test_the_readme_is_short():
    assert len(text_of("README.md").splitlines()) <= 150


def test_the_python_examples_run(toy_corpus, tmp_path, monkeypatch, capsys):
    """They run on toy clips and an untrained model, in the folders of a finished quickstart."""
    monkeypatch.chdir(tmp_path)
    run = Path("runs/quickstart")
    clips = run / "corpus" / "audio" / "speaker-00"
    clips.mkdir(parents=True)
    for name in ("00_angry", "00_sad", "00_happy", "01_angry", "01_sad"):
        number, emotion = name.split("_")
        shutil.copy(
            toy_corpus.recordings.path(f"s0-{emotion}-{int(number)}"), clips / f"speaker-00_{name}.wav"
        )
    encoder = SpeechEncoder.from_name("tiny-whisper")
    torch.manual_seed(0)
    model = new_model(
        toy_corpus.emotions,
        encoder="tiny-whisper",
        feature_shape=(encoder.num_layers + 1, encoder.hidden_size),
        language_model="tiny-llama",
        lora=LoraOptions(),
        prompt=PromptOptions(),
        projector=ProjectorOptions(),
    )
    model.save_pretrained(run / "models" / "speech-lm")
    SpeechLMProcessor.of(model).save_pretrained(run / "models" / "speech-lm")
    page = "docs/how_to/personalize.md"
    personalize, transformers = fenced(page, "python")
    names: dict = {}
    exec(compile(personalize, page, "exec"), names)
    enrolled = [clip.name for clip in names["personal"].enrolled]
    assert enrolled == [f"speaker-00_00_{emotion}.wav" for emotion in ("angry", "sad", "happy")]
    assert tuple(names["prediction"].probabilities) == toy_corpus.emotions.names
    printed = capsys.readouterr().out.splitlines()
    answered = [line.split()[0] for line in printed[::2]]
    assert answered == [str(clips / f"speaker-00_01_{emotion}.wav") for emotion in ("angry", "sad")]
    assert Path("alice.profile").is_file()
    exec(compile(transformers, page, "exec"), names)
    assert names["loss"].isfinite()
    assert names["answer"].shape[0] == 1
    for name, clip in zip(("a", "b", "clip"), sorted(clips.iterdir()), strict=False):
        shutil.copy(clip, f"{name}.wav")
    [short] = fenced("README.md", "python")
    exec(compile(short, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith(("(", "frozenset", "["))


def test_ci_runs_what_contributing_and_pre_commit_say():
    script = text_of(".ci/run")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    steps = re.findall(r'^step "([a-z.].*)"$', script, re.MULTILINE)
    # What CONTRIBUTING.md does not list needs the fresh environment, or another one.
    *quick, tests = CHECKS
    assert steps == ["pip check", *quick, "mkdocs build --strict", tests, ".ci/audio_tests", ".ci/audit"]
    assert all(os.access(ROOT / step, os.X_OK) for step in steps if step.startswith(".ci/"))
    assert re.findall(r"^ +entry: (.*)$", text_of(".pre-commit-config.yaml"), re.MULTILINE) == list(CHECKS)
    assert set(CHECKS) <= set(shell_commands("CONTRIBUTING.md"))


def test_an_audit_that_cannot_reach_its_database_says_so_and_passes():
    unreachable = os.environ | {"AUDIT_SERVICE": "http://127.0.0.1:9/"}
    done = subprocess.run([ROOT / ".ci/audit"], capture_output=True, text=True, timeout=60, env=unreachable)
    assert done.returncode == 0
    assert "skipped, the database of known faults is out of reach" in done.stdout


@pytest.mark.parametrize(
    "readme",
    [
        "pip install -e '.[test]' -c constraints.txt && pytest\n",
        "```bash\npip install -e '.[test]'\npytest\n```\n",
        "```bash\npip install a && pytest\npip install b && pytest\n```\n",
    ],
    ids=["unfenced", "two lines", "twice"],
)
def test_ci_stops_if_the_readme_has_no_test_command(readme, tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "README.md").write_text(readme)
    done = subprocess.run([tmp_path / ".ci/run"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "README.md must have exactly one fenced line" in done.stderr
