"""Every reader, from the command's function on: a prepared corpus, or a line; nothing else is written."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.cli.prepare import prepare
from perser.corpora.corpus import Corpus
from perser.corpora.huggingface_options import HuggingFaceDataset
from perser.corpora.readers.iemocap import parse_evaluation
from perser.errors import UserError

from .corruption import corrupted, examples, result_or_line, tree, untouched
from .published import CORPORA, Files, recording, write

datasets.disable_progress_bars()


def prepared(corpus: str, place: Path, **options) -> Corpus | None:
    """What `perser prepare` makes of `in` beside it; None where it refuses to."""
    out = place / "out"
    with untouched(place, but="out"):
        result_or_line(lambda: prepare(corpus, out, place / "in", allow_skips=True, **options))
    if not out.exists():
        return None
    found = Corpus.load(out)
    assert {one.utterance_id for one in found.annotations} <= set(found.utterances)
    assert all(found.recordings.waveform(one).isfinite().all() for one in found.utterances)
    return found


@pytest.mark.parametrize("kind", CORPORA)
def test_what_is_whole_is_read_whole(kind: str, tmp_path: Path):
    corpus, files, options = CORPORA[kind]
    write(tmp_path / "in", files())
    found = prepared(corpus, tmp_path, **options)
    assert found is not None
    assert len(found.utterances) == sum(name.endswith(".wav") for name in files())


@pytest.mark.parametrize("kind", CORPORA)
@examples(20)
@given(data=st.data())
def test_a_corrupted_file_gives_a_corpus_or_a_line(kind: str, data: st.DataObject):
    corpus, files, options = CORPORA[kind]
    content = files()
    tables = [name for name in content if not name.endswith(".wav")] or list(content)
    name = data.draw(st.sampled_from(tables))
    content[name] = data.draw(corrupted(content[name]))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "in", content)
        prepared(corpus, Path(folder), **options)


@pytest.mark.parametrize("how", ["folder", "loop", "pipe", "not Unicode", "long", "gone", "forbidden"])
@pytest.mark.parametrize("kind", CORPORA)
def test_a_file_that_is_something_else_is_passed_over_or_named(kind: str, how: str, tmp_path: Path):
    corpus, files, options = CORPORA[kind]
    content = files()
    table = next((name for name in content if not name.endswith(".wav")), next(iter(content)))
    root = write(tmp_path / "in", content)
    _replace(root / table, how)
    try:
        prepared(corpus, tmp_path, **options)
    finally:
        (root / table).parent.chmod(0o755)


def _replace(path: Path, how: str) -> None:
    other = os.fsencode(path.parent) + (b"/\xff\xfe" if how == "not Unicode" else b"/" + b"n" * 200)
    if how in ("not Unicode", "long"):
        Path(os.fsdecode(other + os.fsencode(path.suffix))).write_bytes(path.read_bytes())
        return
    if how == "forbidden":
        path.chmod(0)
        return
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "loop":
        path.symlink_to(path)
    elif how == "pipe":  # reading it would wait for ever; a recording of that name is missing
        os.mkfifo(path)


def test_links_and_paths_that_lead_out_are_read_as_audio_and_never_written(tmp_path: Path):
    """A manifest may name any file of the machine: it is decoded as a recording, and left as it is."""
    outside = write(tmp_path / "outside", {"a.wav": recording(), "secret.txt": b"the password"})
    root = write(tmp_path / "in", {"b.wav": recording(400)})
    (root / "link.wav").symlink_to(outside / "a.wav")
    paths = [
        "b.wav",
        str(outside / "a.wav"),
        "../outside/a.wav",
        "link.wav",
        "../outside/secret.txt",
        "/etc/passwd",
    ]
    rows = [f"{path},s{place},me,{'sad' if place % 2 else 'happy'}" for place, path in enumerate(paths)]
    (root / "manifest.csv").write_text("\n".join(["path,speaker,listener,emotions", *rows]))
    found = prepared("manifest", tmp_path)
    assert list(found.utterances) == sorted(paths[:4])
    left_out = dict(found.card["left_out"])
    assert set(left_out) == set(paths[4:])
    assert not any("password" in content for content in left_out.values())
    written = [name for name in tree(tmp_path / "out") if "." in name.rpartition("/")[2]]
    assert {Path(name).suffix for name in written} == {".json", ".arrow"}


def test_ids_that_look_like_paths_name_no_files(tmp_path: Path):
    root = write(tmp_path / "in", {"a.wav": recording(), "b.wav": recording(500)})
    ids = ("../../../outside", "/tmp/absolute")
    rows = [
        f"{name},{clip}.wav,../s,..,{word}"
        for name, clip, word in zip(ids, "ab", ("sad", "happy"), strict=True)
    ]
    (root / "manifest.csv").write_text("\n".join(["utterance_id,path,speaker,listener,emotions", *rows]))
    assert set(prepared("manifest", tmp_path).utterances) == set(ids)


def test_a_link_as_output_keeps_leading_where_it_led(tmp_path: Path):
    write(tmp_path / "in", CORPORA["manifest (CSV)"][1]())
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for _ in range(2):
        prepare("manifest", tmp_path / "out", tmp_path / "in")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "corpus.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "in", "out"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b"path,path,speaker,listener,emotions\na.wav,b.wav,s,l,sad", "has the column path twice"),
        (b"path,speaker,listener,emotions\na.wav,s,l,sad,happy", "line 2: more cells than the 4 columns"),
        (b'path,speaker,listener,emotions\na.wav,s,l,"sad\nb.wav,s,l,happy', "unexpected end of data"),
        (b"path,speaker,listener,emotions\na.wav,s,l," + b"x" * 200_000, "field larger than field limit"),
        ("path,speaker,listener,emotions\na.wav,s,l,sad".encode("utf-16"), "not UTF-8"),
    ],
)
def test_rows_in_which_something_would_be_lost_are_named(rows: bytes, message: str, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "manifest.csv").write_bytes(rows)
    with untouched(tmp_path), pytest.raises(UserError, match=message):
        prepare("manifest", tmp_path / "out", tmp_path / "in")


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"path": ' + b"9" * 6000 + b"}", b'{"speaker": "\\ud800"}', b"\x00", b'"a"']
)
def test_lines_of_json_that_break_parsers_are_named(line: bytes, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "manifest.jsonl").write_bytes(line)
    with pytest.raises(UserError, match="line 1: "):
        prepare("manifest", tmp_path / "out", tmp_path / "in")


def test_a_path_outside_the_corpus_is_named(tmp_path: Path):
    files: Files = CORPORA["dusha"][1]()
    table = "crowd_train/raw_crowd_train.tsv"
    files[table] = files[table].replace(b"wavs/a.wav", b"/etc/passwd")
    write(tmp_path / "in", files)
    assert ["raw_crowd_train.tsv:2", "no hash_id, or no audio_path inside the corpus"] in prepared(
        "dusha", tmp_path
    ).card["left_out"]


def test_a_line_of_a_million_spaces_takes_no_time():
    started = time.perf_counter()
    for filler in (" ", "\t", " \t", "(", "; "):
        parse_evaluation("[1.0 - 2.0]\ta_F000\tneu\t[2]\nC-E1:" + filler * 200_000 + "\tx", "1", "x.txt")
    assert time.perf_counter() - started < 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "saved"
    clips = [{"bytes": recording(200 + 50 * place), "path": f"{place}.wav"} for place in range(3)]
    table = datasets.Dataset.from_dict({"audio": clips, "emotion": ["sad", "happy", "sad"]})
    table.save_to_disk(folder)
    return folder


@examples(40)
@given(data=st.data())
def test_a_corrupted_hugging_face_folder_gives_a_corpus_or_a_line(saved: Path, data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(saved, place / "in")
        dataset = HuggingFaceDataset(str(place / "in"))
        prepare("huggingface", place / "whole", dataset=dataset)
        file = data.draw(st.sampled_from(sorted(path.name for path in (place / "in").iterdir())))
        content = (place / "in" / file).read_bytes()
        (place / "in" / file).write_bytes(data.draw(corrupted(content)))
        with untouched(place, but="out"):
            result_or_line(lambda: prepare("huggingface", place / "out", dataset=dataset, allow_skips=True))
