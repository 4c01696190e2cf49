"""The commands of README.md and of the pages that use one run work in order, on a toy corpus and in small."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from perser.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = (
    "docs/how_to/train.md",
    "docs/how_to/corpora.md",
    "docs/how_to/ceiling.md",
    "docs/how_to/compare.md",
    "docs/how_to/personalize.md",
    "README.md",
    "docs/tutorials/own_recordings.md",
    "docs/tutorials/new_label.md",
    "docs/protocol.md",
)
FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = {
    "episodes": "--k 8 --q 8 --split.validation_groups 2 --split.validation_persons 2",
    "pretrain": "--epochs 1 --head_size 8 --adaptation_steps 2",
    "meta-train": "--inner.steps 2 --inner.support 8 --inner.adaptation_steps 2 --outer.steps 2",
    "icl-train": "--steps 2 --pairs 8 --batch_size 2 --validation_sequences 2",
    "icl-controls": "--pairs 8 --orders 2",
}
"""Options that make a command small. They come last, so that they win."""
ELSEWHERE = {
    "pip install": "`.ci/run`",
    "perser quickstart": "tests/benchmarks/test_experiment.py, with small options",
    "perser experiment": "tests/test_configs.py and tests/benchmarks/test_iemocap_configs.py",
    "perser bench --config": "tests/test_configs.py and tests/benchmarks/measuring/test_cells.py",
    "runs/own/": "tests/benchmarks/test_own_recordings.py: the recordings are not here",
    "perser prepare": "tests/perser/corpora: the corpora are not here",
    "perser demo": "tests/perser/demo: the command would wait for a visitor",
    "perser serve": "tests/perser/server: the command would wait for requests",
    "HuggingFaceTB/": "tests/speechlm_icl: the model comes from the Hub",
    "accelerate launch": "tests/meta_perser/training/test_outer_loop.py, with torchrun: it needs GPUs",
    "--processes": "tests/perser/training and tests/test_two_processes.py",
    "torchrun": "tests/test_two_processes.py, tests/meta_perser and tests/benchmarks/measuring/test_cells.py",
    "--run.tracker": "tests/perser/training/test_trackers.py",
}
"""Parts of commands that are not run here, and the tests that cover them."""
TRAINED_HERE = {"starter-icl": "runs/mine/models/speech-lm", "starter": "runs/mine/models/meta-perser"}
"""Models in place of those that come with perser, whose encoder comes from the Hub."""


def commands() -> Iterator[str]:
    """Yield the commands of all pages, those that train first, because the others use the models."""
    for page in PAGES:
        for block in FENCE.findall((ROOT / page).read_text(encoding="utf-8")):
            yield from filter(None, block.replace("\\\n", " ").splitlines())


def is_tested_elsewhere(command: str) -> bool:
    return any(part in command for part in ELSEWHERE) and "prepare --list" not in command


def test_the_commands_of_a_users_own_run_work(toy_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # In place of `perser prepare simulated`, which takes longer.
    shutil.copytree(toy_corpus.folder, "runs/mine/corpus")
    # Commands that read the quickstart's models read those trained here; the clips are the toy corpus's.
    Path("runs/quickstart").symlink_to("mine")
    recordings = toy_corpus.recordings
    for name, utterance in zip(
        ("a.wav", "b.wav", "clip.wav", "c.wav"), recordings.utterance_ids, strict=False
    ):
        shutil.copy(recordings.path(utterance), name)
    for emotion in ("angry", "sad"):
        Path("alice", emotion).mkdir(parents=True)
        shutil.copy(recordings.path(f"s0-{emotion}-0"), f"alice/{emotion}/one.wav")
    Path("moods.csv").write_text("path,emotions\na.wav,tired\nb.wav,fired up\n")
    Path("recordings").mkdir()
    for utterance in recordings.utterance_ids[3:9]:
        shutil.copy(recordings.path(utterance), "recordings")
    Path("alice.csv").write_text("path,emotions\na.wav,angry\nb.wav,happy;neutral\n")
    Path("more.csv").write_text("path,emotions\nc.wav,sad\n")
    for command in commands():
        if is_tested_elsewhere(command):
            continue
        program, name, *options = (TRAINED_HERE.get(word, word) for word in shlex.split(command))
        assert program == "perser"
        main([name, *options, *SMALL.get(name, "").split()])
    mine = Path("runs/mine")
    outputs = ("episodes.json", "episodes-missing.json", "models/meta-perser", "models/speech-lm")
    assert all((mine / output).exists() for output in outputs)
    assert (mine / "results" / "report.html").is_file()
    assert (mine / "controls" / "controls.md").is_file()
    assert "Macro-F1" in Path("runs/exported/speech-lm/README.md").read_text()
    assert "without enrollment" in capsys.readouterr().out


@pytest.mark.parametrize("part", ELSEWHERE)
def test_each_skipped_command_is_still_in_the_documents(part):
    assert any(part in command for command in commands())
