from __future__ import annotations

from pathlib import Path

import pytest

from perser.corpora.corpus import Corpus
from perser.errors import UserError
from perser.prepare import prepare

from .corpora.tones import write_tone


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A manifest of twenty clips of which one is empty."""
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
    assert "3 speakers, 19 annotations by 1 listeners" in printed
    assert "1 empty: 7.wav" in printed


def test_too_many_bad_files_need_leave(own: Path, tmp_path: Path):
    (own / "8.wav").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 20 recordings are bad"):
        prepare("manifest", tmp_path / "out", root=own)
    prepare("manifest", tmp_path / "out", root=own, allow_skips=True)
    assert len(Corpus.load(tmp_path / "out").utterances) == 18


def test_an_unknown_corpus_lists_those_there_are(tmp_path: Path):
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
        ("simulated", {"listeners": "simulated:8"}, "takes a number as --listeners"),
        ("manifest", {"root": "own", "out": "."}, "lies in --out"),
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


def test_simulated_speech_lies_in_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a reader of our own in place of the simulated one: nothing needs to speak here."""
    from perser import prepare as module
    from perser.corpora.listing import Annotation, Listing, Utterance

    def made_up(audio_out: Path, listeners: int = 2, seed: int = 0) -> Listing:
        for emotion in ("happy", "sad"):
            write_tone(audio_out / f"{emotion}.wav", pitch=300 + seed)
        names = [f"l{number}" for number in range(listeners)]
        return Listing(
            name="made-up",
            emotions=("happy", "sad"),
            audio_root=audio_out,
            utterances=[Utterance(one, f"{one}.wav", "s", "1") for one in ("happy", "sad")],
            annotations=[Annotation(one, name, (one,)) for one in ("happy", "sad") for name in names],
            source="tests",
            licence="none",
            simulated=True,
        )

    monkeypatch.setattr(module, "_reader", lambda corpus: made_up)
    prepare("made-up", tmp_path / "out", listeners=5, seed=3)
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.recordings.path("sad") == tmp_path / "out" / "audio" / "sad.wav"
    assert corpus.recordings.path("sad").is_file()
    assert corpus.card["counts"]["listeners"] == 5
    assert corpus.simulated is True
