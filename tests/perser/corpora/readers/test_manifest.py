from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.corpora.corpus import write_corpus
from perser.corpora.readers.manifest import read_manifest
from perser.errors import UserError

from .tones import write_tone

HEAD = "path,speaker,listener,emotions\n"


def write(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_csv_becomes_a_prepared_corpus(tmp_path: Path):
    write_tone(tmp_path / "clips" / "a.wav")
    write_tone(tmp_path / "clips" / "b.flac", pitch=330)
    write(
        tmp_path,
        "path,speaker,listener,emotions,text\n"
        "clips/a.wav,anna,me,Happy; Excited,Good morning\n"
        "clips/a.wav,anna,you,neutral,Good morning\n"
        "clips/b.flac,bo,me,sad,\n",
    )
    corpus = write_corpus(read_manifest(tmp_path), tmp_path / "out")
    assert corpus.emotions.names == ("excited", "happy", "neutral", "sad")
    assert [
        (annotation.utterance_id, annotation.listener, annotation.emotions)
        for annotation in corpus.annotations
    ] == [
        ("clips/a.wav", "me", ("happy", "excited")),
        ("clips/a.wav", "you", ("neutral",)),
        ("clips/b.flac", "me", ("sad",)),
    ]
    assert corpus.utterances["clips/a.wav"].text == "Good morning"
    assert len(corpus.recordings.waveform("clips/b.flac")) == 3200


CELL = st.text(st.characters(categories=["L", "N"], include_characters=' ,"_-'), min_size=1, max_size=8).map(
    lambda text: normalize("NFC", "x" + text.strip())
)
WORDS = st.lists(st.sampled_from(["angry", "happy", "sad", "very calm"]), min_size=1, max_size=3, unique=True)
ROWS = st.dictionaries(st.tuples(CELL, CELL), WORDS, min_size=1, max_size=6)


@given(rows=ROWS, jsonl=st.booleans(), bom=st.booleans(), ends=st.sampled_from(["\n", "\r\n"]))
def test_rows_round_trip(rows: dict[tuple[str, str], list[str]], jsonl: bool, bom: bool, ends: str):
    columns = ("path", "speaker", "listener", "emotions")
    cells = [(f"{path}.wav", "s", listener, words) for (path, listener), words in rows.items()]
    if jsonl:
        text = ends.join(json.dumps(dict(zip(columns, row, strict=True))) for row in cells)
    else:
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator=ends)
        writer.writerow(columns)
        writer.writerows((*row[:3], "; ".join(row[3])) for row in cells)
        text = stream.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("list.jsonl" if jsonl else "list.csv")
        path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
        listing = read_manifest(path, emotions="sad;happy;angry;very calm")
    assert {
        (annotation.utterance_id, annotation.listener): list(annotation.emotions)
        for annotation in listing.annotations
    } == {(f"{path}.wav", listener): words for (path, listener), words in rows.items()}
    assert {row.audio for row in listing.utterances} == {f"{path}.wav" for path, _ in rows}
    assert listing.emotions == ("sad", "happy", "angry", "very calm")


def test_optional_columns_are_read(tmp_path: Path):
    row = {"path": "a.wav", "speaker": 7, "listener": "me", "emotions": "sad;happy", "utterance_id": "u1"}
    listing = read_manifest(write(tmp_path, json.dumps(row | {"session": "2"}), "manifest.jsonl"))
    [utterance] = listing.utterances
    assert (utterance.utterance_id, utterance.speaker, utterance.session) == ("u1", "7", "2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        (HEAD, "has no rows"),
        ("path,speaker\na.wav,s\n", r"no column listener, emotions \(line 1\)"),
        (HEAD + "a.wav,s,me,sad\nb.wav,s,me,\n", "line 3: no emotions"),
        (HEAD + "a.wav,,,sad\n", "line 2: no speaker, listener"),
        (HEAD + "a.wav,NaN,me,sad\n", "line 2: speaker is 'nan', an empty cell: fill it in"),
        (HEAD + "a.wav,s,None,sad\n", "line 2: listener is 'none', an empty cell"),
        (HEAD + "a.wav,s,me,sad\nb.wav,s,me,1.0\n", "line 3: the emotion '1.0' is a number: write the word"),
        (HEAD[:-1] + ",sesion\na.wav,s,me,sad,1\n", r"a column sesion \(line 1\): rename it to session"),
        (HEAD + "a.wav,s\n", "line 2: no listener, emotions"),
        (HEAD + "a.wav,s,me,sad\nb.wav,s,me,sad\na.wav,s,me,happy\n", "lines 2 and 4: me labels a.wav twice"),
        (HEAD + "a.wav,s,me,sad\na.wav,t,you,sad\n", "lines 2 and 3: a.wav differs in path, speaker"),
    ],
)
def test_the_error_for_bad_csv_names_the_lines(text: str, message: str, tmp_path: Path):
    with pytest.raises(UserError, match=message) as caught:
        read_manifest(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "manifest.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\n", "has no rows"),
        ('{"path": "a.wav"\n', "line 1: not JSON"),
        ('\n["a.wav"]\n', "line 2: not a JSON object"),
        (
            '{"path": "a.wav", "speaker": null, "listener": "me", "emotions": []}',
            "line 1: no speaker, emotions",
        ),
    ],
)
def test_the_error_for_bad_jsonl_names_the_line(text: str, message: str, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        read_manifest(write(tmp_path, text, "manifest.jsonl"))


def test_a_mistyped_key_is_named_and_numbers_that_were_asked_for_are_labels(tmp_path: Path):
    row = '{"path": "a.wav", "speaker": "s", "listener": "me", "emotions": 1, "%s": "2"}\n'
    with pytest.raises(UserError, match="line 1: it has sesion: rename it to session"):
        read_manifest(write(tmp_path, row % "sesion", "manifest.jsonl"))
    listing = read_manifest(write(tmp_path, row % "session", "manifest.jsonl"), "1;2")
    assert (listing.emotions, listing.annotations[0].emotions) == (("1", "2"), ("1",))


def test_a_word_outside_the_emotion_set_is_named(tmp_path: Path):
    path = write(tmp_path, HEAD + "a.wav,s,me,happy\nb.wav,s,me,hapy\n")
    with pytest.raises(UserError, match="line 3: unknown emotion 'hapy': the set given is happy, sad"):
        read_manifest(path, emotions="happy;sad")


def test_the_error_for_a_missing_manifest_says_what_to_do(tmp_path: Path):
    with pytest.raises(UserError, match=r"no manifest.csv or manifest.jsonl"):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match="is not there"):
        read_manifest(tmp_path / "list.csv")
    with pytest.raises(UserError, match=r"neither .csv nor .jsonl"):
        read_manifest(write(tmp_path, "", "list.xlsx"))
    write(tmp_path, HEAD)
    write(tmp_path, "", "manifest.jsonl")
    with pytest.raises(UserError, match="two manifests"):
        read_manifest(tmp_path)


def test_one_label_only_is_no_corpus(tmp_path: Path):
    write_tone(tmp_path / "a.wav")
    write(tmp_path, HEAD + "a.wav,anna,me,happy\na.wav,anna,you,happy\n")
    with pytest.raises(UserError, match=r"manifest.csv has one label only, 'happy': .* --emotions"):
        write_corpus(read_manifest(tmp_path), tmp_path / "out")
    assert write_corpus(read_manifest(tmp_path, "happy;sad"), tmp_path / "out").emotions.names == (
        "happy",
        "sad",
    )


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path):
    (tmp_path / "manifest.csv").write_bytes(HEAD.encode() + b"caf\xe9.wav,s,me,sad\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_manifest(tmp_path)


def test_a_folder_is_called_one_and_a_mistyped_name_gets_the_nearest(tmp_path: Path):
    write_tone(tmp_path / "clips" / "hello.wav")
    for name, reason in (
        ("clips", "clips: a folder, not a recording"),
        ("clips/helo.wav", r"clips/helo.wav: missing \(did you mean .*clips/hello.wav\?\)"),
    ):
        write(tmp_path, f"{HEAD}{name},anna,me,sad;happy\n")
        with pytest.raises(UserError, match=f"for example {reason}"):
            write_corpus(read_manifest(tmp_path), tmp_path / "out")
