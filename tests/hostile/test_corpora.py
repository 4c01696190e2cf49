"""Every reader gives a prepared corpus or an error of one line, and writes nothing else."""

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

from .corruption import corrupted, examples, result_or_error, tree, untouched
from .published import CORPORA, Files, recording, write

datasets.disable_progress_bars()


def prepared(corpus: str, folder: Path, **options) -> Corpus | None:
    """Run `perser prepare` from `folder/in` to `folder/out`; return the corpus, or None if it is refused."""
    out = folder / "out"
    with untouched(folder, but="out"):
        result_or_error(lambda: prepare(corpus, out, folder / "in", allow_skips=True, **options))
    if not out.exists():
        return None
    loaded = Corpus.load(out)
    assert {row.utterance_id for row in loaded.annotations} <= set(loaded.utterances)
    assert all(loaded.recordings.waveform(utterance).isfinite().all() for utterance in loaded.utterances)
    return loaded


@pytest.mark.parametrize("kind", CORPORA)
def test_an_intact_corpus_is_read_completely(kind: str, tmp_path: Path):
    corpus, files, options = CORPORA[kind]
    write(tmp_path / "in", files())
    loaded = prepared(corpus, tmp_path, **options)
    assert loaded is not None
    assert len(loaded.utterances) == sum(name.endswith(".wav") for name in files())


@pytest.mark.parametrize("kind", CORPORA)
@examples(20)
@given(data=st.data())
def test_a_corrupted_file_gives_a_corpus_or_an_error(kind: str, data: st.DataObject):
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
def test_a_table_that_is_no_regular_file_is_skipped_or_named(kind: str, how: str, tmp_path: Path):
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
    elif how == "pipe":  # reading it would wait forever
        os.mkfifo(path)


def test_paths_out_of_the_folder_are_read_as_audio_and_never_written(tmp_path: Path):
    """A manifest may name any file of the machine. It is decoded as a recording and not changed."""
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
    rows = [f"{path},s{number},me,{'sad' if number % 2 else 'happy'}" for number, path in enumerate(paths)]
    (root / "manifest.csv").write_text("\n".join(["path,speaker,listener,emotions", *rows]))
    corpus = prepared("manifest", tmp_path)
    assert list(corpus.utterances) == sorted(paths[:4])
    left_out = dict(corpus.card["left_out"])
    assert set(left_out) == set(paths[4:])
    assert not any("password" in content for content in left_out.values())
    written = [name for name in tree(tmp_path / "out") if "." in name.rpartition("/")[2]]
    assert {Path(name).suffix for name in written} == {".json", ".arrow"}


def test_ids_that_look_like_paths_write_no_files(tmp_path: Path):
    root = write(tmp_path / "in", {"a.wav": recording(), "b.wav": recording(500)})
    ids = ("../../../outside", "/tmp/absolute")
    rows = [
        f"{name},{clip}.wav,../s,..,{word}"
        for name, clip, word in zip(ids, "ab", ("sad", "happy"), strict=True)
    ]
    (root / "manifest.csv").write_text("\n".join(["utterance_id,path,speaker,listener,emotions", *rows]))
    assert set(prepared("manifest", tmp_path).utterances) == set(ids)


def test_an_output_folder_that_is_a_link_stays_a_link(tmp_path: Path):
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
def test_table_rows_that_would_lose_data_are_refused(rows: bytes, message: str, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "manifest.csv").write_bytes(rows)
    with untouched(tmp_path), pytest.raises(UserError, match=message):
        prepare("manifest", tmp_path / "out", tmp_path / "in")


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"path": ' + b"9" * 6000 + b"}", b'{"speaker": "\\ud800"}', b"\x00", b'"a"']
)
def test_json_lines_that_break_parsers_are_refused(line: bytes, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "manifest.jsonl").write_bytes(line)
    with pytest.raises(UserError, match="line 1: "):
        prepare("manifest", tmp_path / "out", tmp_path / "in")


def test_a_dusha_path_outside_the_corpus_is_left_out_by_name(tmp_path: Path):
    files: Files = CORPORA["dusha"][1]()
    table = "crowd_train/raw_crowd_train.tsv"
    files[table] = files[table].replace(b"wavs/a.wav", b"/etc/passwd")
    write(tmp_path / "in", files)
    assert ["raw_crowd_train.tsv:2", "no hash_id, or no audio_path inside the corpus"] in prepared(
        "dusha", tmp_path
    ).card["left_out"]


def test_iemocap_lines_of_many_spaces_are_parsed_fast():
    started = time.process_time()
    for filler in (" ", "\t", " \t", "(", "; "):
        parse_evaluation("[1.0 - 2.0]\ta_F000\tneu\t[2]\nC-E1:" + filler * 200_000 + "\tx", "1", "x.txt")
    assert time.process_time() - started < 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "saved"
    clips = [{"bytes": recording(200 + 50 * number), "path": f"{number}.wav"} for number in range(3)]
    table = datasets.Dataset.from_dict({"audio": clips, "emotion": ["sad", "happy", "sad"]})
    table.save_to_disk(folder)
    return folder


@examples(40)
@given(data=st.data())
def test_a_corrupted_hugging_face_folder_gives_a_corpus_or_an_error(saved: Path, data: st.DataObject):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(saved, folder / "in")
        dataset = HuggingFaceDataset(str(folder / "in"))
        prepare("huggingface", folder / "intact", dataset=dataset)
        file = data.draw(st.sampled_from(sorted(path.name for path in (folder / "in").iterdir())))
        content = (folder / "in" / file).read_bytes()
        (folder / "in" / file).write_bytes(data.draw(corrupted(content)))
        with untouched(folder, but="out"):
            result_or_error(lambda: prepare("huggingface", folder / "out", dataset=dataset, allow_skips=True))
