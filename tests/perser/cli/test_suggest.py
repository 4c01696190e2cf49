"""`perser suggest`, as a user types it."""

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


def suggested(capsys, *options):
    main(["suggest", "--model", "model", "--pool", "pool", "--json", *options])
    return json.loads(capsys.readouterr().out)


def test_the_command_says_what_python_does(pool, capsys):
    found = suggested(capsys, "--n", "3")
    expected, _ = suggest([Recognizer.from_pretrained("model")], sorted(pool.iterdir()), 3)
    assert [one["path"] for one in found] == [one.path for one in expected]
    assert found[0]["distance"] is None
    assert found[1]["distance"] == pytest.approx(expected[1].distance)
    main(["suggest", "--model", "model", "--pool", "pool", "--n", "3"])
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["clip", "unsure", "distance"]
    assert [line.split()[0] for line in lines] == [one.path for one in expected]


def test_what_the_person_has_labeled_is_not_suggested(pool, capsys):
    Path("alice.csv").write_text("path,emotions\npool/0.wav,angry\npool/5.wav,sad\n")
    main(["enroll", "--model", "model", "--examples", "alice.csv", "--out", "alice.profile"])
    capsys.readouterr()
    by_examples = suggested(capsys, "--examples", "alice.csv", "--n", "9")
    assert {one["path"] for one in by_examples} == {f"pool/{number}.wav" for number in range(1, 5)}
    assert suggested(capsys, "--profile", "alice.profile", "--n", "9") == by_examples
    plain = {one["path"]: one["unsure"] for one in suggested(capsys, "--n", "9")}
    assert any(one["unsure"] != pytest.approx(plain[one["path"]]) for one in by_examples)


def test_two_models_that_agree_are_never_unsure(pool, capsys):
    Path("other").mkdir()
    found = suggested(capsys, "--model", "other", "--n", "2")
    assert [one["unsure"] for one in found] == [pytest.approx(0, abs=1e-9)] * 2


def test_bad_clips_are_named(pool, capsys):
    (pool / "bad.wav").write_text("no sound")
    with pytest.raises(SystemExit) as caught:
        main(["suggest", "--model", "model", "--pool", "pool", "--n", "2", "--json"])
    assert caught.value.code == 1
    out, error = capsys.readouterr()
    assert len(json.loads(out)) == 2
    assert "perser: pool/bad.wav: unreadable" in error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--profile", "p", "--examples", "e"], "not both"),
        (["--profile", "p", "--model", "other"], "a profile is of one model"),
        (["--n", "0"], "n: 0, give at least 1"),
        (["--pool", "nowhere"], "nowhere: missing"),
    ],
)
def test_bad_input_is_one_line(options, said, pool, capsys):
    with pytest.raises(SystemExit):
        main(["suggest", "--model", "model", "--pool", "pool", *options])
    assert said in capsys.readouterr().err
