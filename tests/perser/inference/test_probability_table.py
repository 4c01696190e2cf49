from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from perser.adjustments.recalibration import Priors
from perser.cli.main import main
from perser.errors import UserError
from perser.inference.probability_profile import ProbabilityProfile, enroll_probabilities, read_labels
from perser.inference.probability_table import LEAST, ProbabilityTable

EMOTIONS = ("angry", "happy", "neutral", "sad")
LABELS = "path,emotions\nclip0.wav,happy\nclip1.wav,angry;sad\nclip2.wav,happy\n"


def scores(rng: np.random.Generator, count: int = 12) -> np.ndarray:
    return softmax(rng.normal(size=(count, 4)), axis=1)


def write_csv(file: Path, rows: np.ndarray, header: str = "path,ang,HAPPY,Neutral state,sad") -> Path:
    lines = [",".join([f"clip{number}.wav", *map(repr, row.tolist())]) for number, row in enumerate(rows)]
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


@pytest.fixture
def rows() -> np.ndarray:
    return scores(np.random.default_rng(0))


@pytest.fixture
def table(tmp_path, rows) -> Path:
    return write_csv(tmp_path / "scores.csv", rows)


@pytest.fixture
def labels(tmp_path) -> Path:
    file = tmp_path / "alice.csv"
    file.write_text(LABELS)
    return file


def run(*words: object) -> int:
    """Return the exit status of `perser` with these words."""
    try:
        return main([str(word) for word in words]) or 0
    except SystemExit as ended:
        return int(ended.code or 0)


def test_it_reads_csv_json_and_parquet_alike(tmp_path, rows, table):
    names = [f"clip{number}.wav" for number in range(len(rows))]
    columns = {"path": names} | {name: rows[:, place].tolist() for place, name in enumerate(EMOTIONS)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "scores.parquet")
    objects = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    (tmp_path / "scores.json").write_text(json.dumps(objects))
    for name in ("scores.csv", "scores.json", "scores.parquet"):
        read = ProbabilityTable.read(tmp_path / name)
        assert (read.emotions.names, list(read.clips)) == (EMOTIONS, names)
        np.testing.assert_allclose(read.probabilities, rows, atol=1e-15)


def test_it_reads_what_predict_prints(tmp_path, labels, table, capsys):
    assert run("enroll", "--probabilities", table, "--examples", labels, "--out", tmp_path / "p") == 0
    capsys.readouterr()
    assert run("predict", "--profile", tmp_path / "p", "--probabilities", table, "--csv") == 0
    (tmp_path / "printed.csv").write_text(capsys.readouterr().out)
    assert ProbabilityTable.read(tmp_path / "printed.csv").emotions.names == EMOTIONS


def test_semicolons_and_decimal_commas_are_read(tmp_path):
    (tmp_path / "s.csv").write_text("datei;path;angry;sad\nx;a.wav;0,25;0,75\n")
    assert ProbabilityTable.read(tmp_path / "s.csv").probabilities.tolist() == [[0.25, 0.75]]


def test_rounded_rows_are_scaled_and_zeros_are_small_numbers(tmp_path):
    (tmp_path / "s.csv").write_text("path,angry,sad,happy\na.wav,0.33,0.33,0.33\nb.wav,1,0,0\n")
    read = ProbabilityTable.read(tmp_path / "s.csv").probabilities
    np.testing.assert_allclose(read, [[1 / 3] * 3, [1 - 2 * LEAST, LEAST, LEAST]], atol=1e-11)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,angry,sad\na.wav,0.9,0.9\n", "line 2: the probabilities sum to 1.8 (angry, sad): give"),
        ("path,angry,sad\na.wav,90,10\n", "line 2: the probabilities sum to 100 (angry, sad): divide"),
        ("path,angry,sad,weird\na.wav,0.5,0.2,0.3\n", "sum to 0.7 (angry, sad; not read: weird)"),
        ("path,angry,sad\na.wav,-1.5,2.5\n", "line 2: angry is -1.5: give probabilities: of logits"),
        ("path,angry,sad\na.wav,0.5,\n", "line 2: no number in sad: fill it in"),
        ("path,angry,sad\na.wav,0.5,high\n", "line 2: sad is 'high', no number"),
        ("path,angry,sad\na.wav,0.5,inf\n", "line 2: sad is 'inf', no number"),
        ("path,angry,sad\na.wav,0.5,0.5\na.wav,0.4,0.6\n", "line 3: a.wav has a row already, on line 2"),
        ("path,angry,sad\n,0.5,0.5\n", "line 2: no path: fill it in"),
        ("path,angry,sad\n", "has no rows: give a row for each clip"),
        ("", "has no rows: give a row for each clip"),
        ("angry,sad\n0.5,0.5\n", "has no column that names the clip: name it path"),
        ("path,LABEL_0,LABEL_1\na.wav,0.5,0.5\n", "has fewer than two columns of emotions (it has label_0, "),
        ("path,happy,joy\na.wav,0.5,0.5\n", "the columns happy and joy are both happy: keep one of the two"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, said):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UserError) as error:
        ProbabilityTable.read(tmp_path / "s.csv")
    assert said in str(error.value)


@pytest.mark.parametrize("content", [b"no parquet", b"PAR1" + bytes(100) + b"PAR1", None])
def test_a_parquet_file_that_cannot_be_read_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "s.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"is no Parquet file|cannot read"):
        ProbabilityTable.read(tmp_path / "s.parquet")


def test_the_bias_is_the_best_one_found_by_another_method(table, labels, rows):
    personal = enroll_probabilities(ProbabilityTable.read(table), read_labels(labels))
    targets = np.array([[0, 1, 0, 0], [0.5, 0, 0, 0.5], [0, 1, 0, 0]])

    def objective(bias: np.ndarray) -> float:
        return -(targets * log_softmax(np.log(rows[:3]) + bias, axis=1)).sum() + bias @ bias / 2

    best = minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(personal.fitted.bias, best, atol=1e-6)
    answers = personal.predict(ProbabilityTable.read(table))
    own = np.array([list(answer.probabilities.values()) for answer in answers])
    np.testing.assert_allclose(own, softmax(np.log(rows) + best, axis=1), atol=1e-6)
    plain = np.array([list(answer.unadapted.probabilities.values()) for answer in answers])
    np.testing.assert_allclose(plain, rows, atol=1e-15)


@pytest.mark.parametrize("recalibration", ["prior-shift", "bias-scale"])
def test_enrolling_in_two_parts_is_enrolling_at_once(tmp_path, table, labels, recalibration):
    read = ProbabilityTable.read(table)
    at_once = enroll_probabilities(read, read_labels(labels), recalibration)
    enroll_probabilities(read, read_labels(labels)[:1], recalibration).save(tmp_path / "p")
    in_parts = ProbabilityProfile.load(tmp_path / "p").enroll(read, read_labels(labels)[1:])
    assert in_parts == at_once
    assert (at_once.fitted.scale != 1) == (recalibration == "bias-scale")


def test_a_table_with_its_columns_in_another_order_gives_the_same_answers(tmp_path, table, labels, rows):
    other = write_csv(tmp_path / "other.csv", rows[:, ::-1], "path,sad,neutral,happy,angry")
    personal = enroll_probabilities(ProbabilityTable.read(table), read_labels(labels))
    first, second = (personal.predict(ProbabilityTable.read(file)) for file in (table, other))
    for one, two in zip(first, second, strict=True):
        assert one.probabilities == pytest.approx(two.probabilities, abs=1e-14)


def test_other_names_of_an_emotion_are_understood_in_examples(tmp_path, table):
    (tmp_path / "e.csv").write_text("path,emotions\nclip0.wav,Joy\nclip1.wav,Anger\n")
    personal = enroll_probabilities(ProbabilityTable.read(table), read_labels(tmp_path / "e.csv"))
    assert [clip.emotions for clip in personal.enrolled] == [("happy",), ("angry",)]


def test_clips_are_found_by_their_place_or_their_name(tmp_path, table):
    read = ProbabilityTable.read(table)
    (tmp_path / "people").mkdir()
    assert read.row_of("../clip3.wav", tmp_path / "people") == 3
    assert read.row_of("clip3.wav", tmp_path / "people") == 3
    for folder in (tmp_path, tmp_path / "people"):  # now the two names are those of two files
        (folder / "clip3.wav").touch()
    assert read.row_of("clip3.wav", tmp_path / "people") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,emotions\nclip0.wav,happy\nclip99.wav,sad\n", "line 3 of the examples: "),
        ("path,emotions\nclip0.wav,happy\nclip99.wav,sad\n", "has no row for clip99.wav"),
        (
            "path,emotions\nclip0.wav,furious\n",
            "line 2 of the examples: clip0.wav: unknown emotion 'furious'",
        ),
        (
            "path,emotions\nclip0.wav,sad\nclip0.wav,happy\n",
            "clip0.wav is enrolled already, or labeled twice",
        ),
        ("path,emotions\nclip0.wav,\n", "line 2: no emotions: fill it in"),
    ],
)
def test_examples_that_cannot_be_enrolled_are_refused_and_nothing_is_written(
    tmp_path, table, text, said, capsys
):
    (tmp_path / "e.csv").write_text(text)
    out = tmp_path / "p"
    assert run("enroll", "--probabilities", table, "--examples", tmp_path / "e.csv", "--out", out) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_the_program_enrolls_learns_more_and_predicts(tmp_path, table, labels, capsys):
    profile = tmp_path / "alice.profile"
    more = tmp_path / "more.csv"
    more.write_text("path,emotions\nclip5.wav,sad\n")
    assert run("enroll", "--probabilities", table, "--examples", labels, "--out", profile) == 0
    assert run("enroll", "--profile", profile, "--probabilities", table, "--examples", more) == 0
    assert "4 enrolled" in capsys.readouterr().out
    assert run("predict", "--profile", profile, "--probabilities", table, "--csv", "clip1.wav") == 0
    printed = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["path"] for row in printed] == ["clip1.wav"]
    assert printed[0]["unadapted_angry"] != printed[0]["angry"]


def test_a_clip_without_a_row_is_named_and_the_others_are_answered(
    tmp_path, table, labels, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run("enroll", "--probabilities", table, "--examples", labels, "--out", "p") == 0
    capsys.readouterr()
    status = run("predict", "--profile", "p", "--probabilities", table, "--json", "--", "no.wav", "clip1.wav")
    printed = capsys.readouterr()
    assert status == 1
    assert [answer["path"] for answer in json.loads(printed.out)] == ["clip1.wav"]
    assert f"no.wav: {table} has no row for it" in printed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("enroll --probabilities s.csv --examples e.csv --out o --model m", "model: no model is loaded"),
        ("enroll --probabilities s.csv --examples e.csv", "give --out"),
        ("enroll --probabilities s.csv --examples . --out o", "is a folder: with"),
        ("enroll --model m --examples e.csv --out o --recalibration bias-scale", "it is for --probabilities"),
        ("enroll --profile p --examples e.csv", "p was made from probabilities: give --probabilities"),
        ("predict --profile p a.wav", "p was made from probabilities: give --probabilities"),
        ("predict --probabilities s.csv", "give --profile FILE (of `perser enroll --probabilities`)"),
        ("predict --profile s.csv --probabilities s.csv", "s.csv is no profile of probabilities"),
        ("enroll --probabilities s.csv --examples e.csv --out s.csv", "is no profile: give"),
        ("predict --profile p --probabilities other.csv", "has the emotions bored, calm, and not"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(
    tmp_path, table, labels, words, said, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run("enroll", "--probabilities", table, "--examples", labels, "--out", "p")
    table.rename("s.csv")
    labels.rename("e.csv")
    Path("other.csv").write_text("path,bored,calm\na.wav,0.5,0.5\n")
    before = Path("s.csv").read_bytes()
    capsys.readouterr()
    assert run(*words.split()) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not Path("o").exists()
    assert Path("s.csv").read_bytes() == before


def test_a_damaged_profile_is_refused(tmp_path, table, labels):
    profile = tmp_path / "p"
    enroll_probabilities(ProbabilityTable.read(table), read_labels(labels)).save(profile)
    text = profile.read_text()
    for damaged in (text[:200], text.replace("happy", "hoppy"), text.replace('"name"', '"nome"'), "{}", ""):
        profile.write_text(damaged)
        with pytest.raises(UserError, match=r"damaged|is no profile of probabilities"):
            ProbabilityProfile.load(profile)


def test_strengths_may_be_given(table, labels):
    read, labeled = ProbabilityTable.read(table), read_labels(labels)
    strong = enroll_probabilities(read, labeled, priors=Priors(bias=1e6))
    assert np.abs(strong.fitted.bias).max() < 1e-5


def test_no_command_imports_torch_for_it(tmp_path, table, labels):
    enroll = ["enroll", "--probabilities", table, "--examples", labels, "--out", tmp_path / "p"]
    predict = ["predict", "--profile", tmp_path / "p", "--probabilities", table]
    for words in (enroll, predict):
        code = (
            "import sys; from perser.cli.main import main; main(sys.argv[1:]); "
            "sys.exit('torch' in sys.modules and 'torch was imported')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
