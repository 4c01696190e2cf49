from __future__ import annotations

import json

import pytest

from benchmarks.speed import first_answer
from perser.errors import UserError


def test_ratios_are_of_medians_over_rounds(toy_corpus, toy_episodes_path, tmp_path, monkeypatch, capsys):
    """The times are made up: the routes have tests of what is timed."""
    times = {
        "imports": [9.0, 2.0, 1.0, 3.0],
        "meta-perser": [9.0, 3.0, 2.0, 5.0],
        "speech-lm": [9.0, 1, 1, 8],
    }
    commands = []

    def seconds(command):
        commands.append(command)
        models = [model for model in ("meta-perser", "speech-lm") if any(model in word for word in command)]
        return times[models[0] if models else "imports"].pop(0)

    (tmp_path / "corpus").symlink_to(toy_corpus.folder)
    (tmp_path / "episodes.json").symlink_to(toy_episodes_path)
    monkeypatch.setattr(first_answer, "_seconds", seconds)
    first_answer.speed_first_answer(tmp_path, rounds=3, json=tmp_path / "out" / "figures.json")
    ratios = json.loads((tmp_path / "out" / "figures.json").read_text())["ratios"]
    assert ratios == {"meta_perser_vs_imports": 1.5, "speech_lm_vs_imports": 0.5}
    assert "1.50 times the imports" in capsys.readouterr().out
    command = commands[1]
    enrolled = command[command.index("--enroll") + 1 : command.index("--")]
    assert len(enrolled) == 8
    assert all(".wav=" in example for example in enrolled)
    assert command[-1].endswith(".wav")


def test_an_error_shows_the_message_of_a_process_that_failed():
    with pytest.raises(UserError, match=r"failed: .*no such thing"):
        first_answer._seconds([first_answer.sys.executable, "-c", "raise SystemExit('no such thing')"])
    with pytest.raises(UserError, match="rounds: 0"):
        first_answer.speed_first_answer(rounds=0)
