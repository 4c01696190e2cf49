"""`perser prepare`: a manifest, wrong options, simulated speech, and the list of corpora."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from datasets import Dataset

from perser.cli.main import main
from perser.cli.prepare import prepare
from perser.corpora.corpus import Corpus
from perser.corpora.huggingface_options import HuggingFaceDataset
from perser.errors import UserError

from ..corpora.readers.tones import write_tone


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A manifest of twenty clips, one of them empty."""
    rows = ["path,speaker,listener,emotions"]
    for number in range(20):
        write_tone(tmp_path / "own" / f"{number}.wav", pitch=200 + number)
        rows.append(f"{number}.wav,s{number % 3},me,{'happy' if number % 2 else 'sad'}")
    (tmp_path / "own" / "7.wav").write_bytes(b"")
    (tmp_path / "own" / "manifest.csv").write_text("\n".join(rows))
    return tmp_path / "own"


def test_a_manifest_is_prepared_and_summed_up(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prepare("manifest", tmp_path / "out", root=own)
    assert len(Corpus.load(tmp_path / "out").utterances) == 19
    printed = capsys.readouterr().out
    assert "manifest, 19 utterances" in printed
    assert "3 speakers, 19 annotations by 1 listener\n" in printed
    assert "1 empty: 7.wav" in printed


def test_too_many_bad_files_are_refused_unless_allowed(own: Path, tmp_path: Path):
    (own / "8.wav").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 20 recordings are bad"):
        prepare("manifest", tmp_path / "out", root=own)
    prepare("manifest", tmp_path / "out", root=own, allow_skips=True)
    assert len(Corpus.load(tmp_path / "out").utterances) == 18


def test_an_unknown_corpus_is_answered_with_the_known_ones(tmp_path: Path):
    with pytest.raises(UserError, match=r"unknown corpus 'cremax': one of .*cremad.*iemocap.*manifest"):
        prepare("cremax", tmp_path / "out", root=tmp_path)


@pytest.mark.parametrize(
    ("corpus", "options", "message"),
    [
        ("cremad", {}, "cremad needs --root"),
        ("manifest", {"root": "own", "listeners": "intended"}, "manifest takes no --listeners"),
        ("iemocap", {"root": "own", "seed": 0}, "iemocap takes no --seed"),
        ("cremad", {"root": "own", "emotions": "sad;happy"}, "cremad takes no --emotions"),
        ("simulated", {"root": "own"}, "takes no --root"),
        ("cremad", {"root": "own", "dataset": HuggingFaceDataset("set")}, "cremad takes no --dataset"),
        ("huggingface", {"root": "own"}, "takes no --root"),
        ("huggingface", {}, "huggingface needs --dataset.name"),
        ("simulated", {"listeners": "simulated:8"}, "takes a number as --listeners"),
        ("manifest", {"root": "own", "out": "."}, "is in --out"),
        ("emodb", {"root": "own"}, "does not look like EmoDB"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    corpus: str, options: dict, message: str, own: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(own.parent)
    paths = {name: Path(options[name]) for name in ("root", "out") if name in options}
    with pytest.raises(UserError, match=message):
        prepare(corpus, **({"out": Path("out")} | options | paths))
    assert not Path("out").exists()


def test_simulated_speech_is_written_into_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The reader is a toy, because the real one needs a speech synthesizer."""
    from perser.cli import prepare as module
    from perser.corpora.listing import Annotation, CorpusReader, Listing, Utterance

    def made_up(audio_out: Path, listeners: int = 2, seed: int = 0) -> Listing:
        for emotion in ("happy", "sad"):
            write_tone(audio_out / f"{emotion}.wav", pitch=300 + seed)
        names = [f"l{number}" for number in range(listeners)]
        return Listing(
            name="made-up",
            emotions=("happy", "sad"),
            audio_root=audio_out,
            utterances=[Utterance(emotion, f"{emotion}.wav", "s", "1") for emotion in ("happy", "sad")],
            annotations=[
                Annotation(emotion, name, (emotion,)) for emotion in ("happy", "sad") for name in names
            ],
            source="tests",
            license="none",
            simulated=True,
        )

    monkeypatch.setattr(module, "_reader", lambda corpus: CorpusReader(made_up))
    prepare("made-up", tmp_path / "out", listeners=5, seed=3)
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.recordings.path("sad") == tmp_path / "out" / "audio" / "sad.wav"
    assert corpus.recordings.path("sad").is_file()
    assert corpus.card["counts"]["listeners"] == 5
    assert corpus.simulated is True


def test_a_hugging_face_dataset_is_prepared_by_its_columns(tmp_path: Path):
    write_tone(tmp_path / "set" / "a.wav")
    write_tone(tmp_path / "set" / "b.wav", pitch=300)
    rows = {"file": ["a.wav", "b.wav"], "label": ["sad", "happy"], "who": ["x", "y"]}
    Dataset.from_dict(rows).save_to_disk(tmp_path / "set" / "saved")
    for name in ("a.wav", "b.wav"):
        (tmp_path / "set" / name).rename(tmp_path / "set" / "saved" / name)
    config = tmp_path / "prepare.yaml"
    config.write_text("dataset: {audio: file, emotions: label}\n")
    arguments = ["--config", str(config), "--dataset.name", str(tmp_path / "set" / "saved")]
    main(["prepare", "huggingface", *arguments, "--dataset.speaker", "who", "--out", str(tmp_path / "out")])
    corpus = Corpus.load(tmp_path / "out")
    assert {row.speaker for row in corpus.utterances.values()} == {"x", "y"}
    assert corpus.emotions.names == ("happy", "sad")


def test_the_list_describes_each_corpus(capsys: pytest.CaptureFixture[str]):
    main(["prepare", "--list"])
    listed = capsys.readouterr().out
    blocks = re.split(r"^(?=\S)", listed, flags=re.MULTILINE)[1:]
    described = {name: text for name, _, text in (block.partition("\n") for block in blocks)}
    assert set(described) == {entry.name for entry in entry_points(group="perser.corpora")}
    for text in described.values():
        for label in ("what", "source", "license", "person", "get it"):
            assert f"    {label}:" in text
    assert "person:  listener or speaker" in described["dusha"]
    assert re.search(r"person: +speaker$", described["ravdess"], re.MULTILINE)
    assert max(map(len, listed.splitlines())) <= 100


def test_the_help_imports_nothing_heavy():
    code = (
        "import sys; from perser.cli.main import main\n"
        "try: main(['prepare', '--help'])\n"
        "finally: print({'torch', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
    assert "--dataset.listener" in done.stdout


def test_the_list_shows_readers_without_description_and_broken_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from perser.cli import prepare as module

    strangers = [
        EntryPoint("bare", "perser.corpora.listing:check_layout", "perser.corpora"),
        EntryPoint("broken", "perser.nothing_here:read", "perser.corpora"),
    ]
    monkeypatch.setattr(module, "entry_points", lambda group: strangers)
    module.list_corpora()
    assert capsys.readouterr().out.splitlines() == [
        "bare",
        "    no description",
        "broken",
        "    cannot be loaded: ModuleNotFoundError: No module named 'perser.nothing_here'",
    ]
