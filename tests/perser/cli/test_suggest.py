"""`perser suggest` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perser.cli.main import main
from perser.inference.active_learning import suggest
from perser.inference.recognizer import Recognizer


@pytest.fixture
def pool(fake_model, write_clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        write_clip(f"pool/{number}.wav", number / 3)
    return Path("pool")


def suggestions(capsys, *options):
    main(["suggest", "--model", "model", "--pool", "pool", "--json", *options])
    return json.loads(capsys.readouterr().out)


def test_the_command_gives_what_the_function_returns(pool, capsys):
    printed = suggestions(capsys, "--n", "3")
    expected, _ = suggest([Recognizer.from_pretrained("model")], sorted(pool.iterdir()), 3)
    assert [clip["path"] for clip in printed] == [clip.path for clip in expected]
    assert printed[0]["distance"] is None
    assert printed[1]["distance"] == pytest.approx(expected[1].distance)
    main(["suggest", "--model", "model", "--pool", "pool", "--n", "3"])
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["clip", "unsure", "distance"]
    assert [line.split()[0] for line in lines] == [clip.path for clip in expected]


def test_labeled_clips_are_not_suggested(pool, capsys):
    Path("alice.csv").write_text("path,emotions\npool/0.wav,angry\npool/5.wav,sad\n")
    main(["enroll", "--model", "model", "--examples", "alice.csv", "--out", "alice.profile"])
    capsys.readouterr()
    by_examples = suggestions(capsys, "--examples", "alice.csv", "--n", "9")
    assert {clip["path"] for clip in by_examples} == {f"pool/{number}.wav" for number in range(1, 5)}
    assert suggestions(capsys, "--profile", "alice.profile", "--n", "9") == by_examples
    plain = {clip["path"]: clip["unsure"] for clip in suggestions(capsys, "--n", "9")}
    assert any(clip["unsure"] != pytest.approx(plain[clip["path"]]) for clip in by_examples)


def test_two_models_that_agree_are_never_unsure(pool, capsys):
    Path("other").mkdir()
    printed = suggestions(capsys, "--model", "other", "--n", "2")
    assert [clip["unsure"] for clip in printed] == [pytest.approx(0, abs=1e-9)] * 2


def test_bad_clips_are_named(pool, capsys):
    (pool / "bad.wav").write_text("no sound")
    with pytest.raises(SystemExit) as caught:
        main(["suggest", "--model", "model", "--pool", "pool", "--n", "2", "--json"])
    assert caught.value.code == 1
    out, error = capsys.readouterr()
    assert len(json.loads(out)) == 2
    assert "perser: pool/bad.wav: unreadable" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "p", "--examples", "e"], "not both"),
        (["--profile", "p", "--model", "other"], "a profile is of one model"),
        (["--n", "0"], "n: 0, give at least 1"),
        (["--pool", "nowhere"], "nowhere: missing"),
    ],
)
def test_bad_input_is_one_line(options, message, pool, capsys):
    with pytest.raises(SystemExit):
        main(["suggest", "--model", "model", "--pool", "pool", *options])
    assert message in capsys.readouterr().err
