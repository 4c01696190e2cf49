"""Every recording becomes float32 samples at 16 kHz, or an error that says why not."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from perser import audio
from perser.audio import LONGEST_SECONDS, BadAudio, at_sample_rate, load_audio
from perser.io.folders import did_you_mean

from .corruption import Trap, corrupted, examples, result_or_error, untouched


def tone(seconds: float = 0.4, rate: int = 16_000) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)


def encoded(kind: str, samples: np.ndarray | None = None, rate: int = 16_000, **options: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, tone() if samples is None else samples, rate, format=kind, **options)
    return stream.getvalue()


INTACT = {kind: encoded(kind) for kind in ("WAV", "FLAC", "OGG", "AIFF", "MP3", "AU", "CAF", "W64")}


@pytest.mark.parametrize("kind", INTACT)
@examples(25)
@given(data=st.data())
def test_a_corrupted_recording_gives_a_waveform_or_an_error(kind: str, data: st.DataObject):
    content = data.draw(corrupted(INTACT[kind]))
    waveform = result_or_error(lambda: load_audio(content))
    if waveform is not None:
        assert waveform.dtype == torch.float32
        assert waveform.ndim == 1
        assert waveform.isfinite().all()
        assert len(waveform) <= LONGEST_SECONDS * 16_000


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC", "MP3"])
def test_a_recording_that_was_cut_short_is_refused(kind: str):
    with pytest.raises(BadAudio, match=r"cut short|unreadable"):
        load_audio(INTACT[kind][: len(INTACT[kind]) // 2])


def test_a_streamed_wav_without_a_length_is_read():
    content = bytearray(INTACT["WAV"])
    content[4:8] = content[40:44] = b"\xff" * 4
    assert len(load_audio(bytes(content))) == 6400


@pytest.mark.parametrize("suffix", ["txt", "raw", "mp3", "gsm", "vox", "", "json"])
def test_a_wrong_extension_does_not_matter(suffix: str, tmp_path: Path):
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(INTACT["FLAC"])
    assert torch.equal(load_audio(path), load_audio(INTACT["FLAC"]))


def test_ten_hours_are_refused_by_the_header_in_little_memory(tmp_path: Path):
    """The file is sparse: a header for ten hours at 48 kHz, and as many zeros."""
    frames = 36_000 * 48_000
    head = b"RIFF" + struct.pack("<I", 36 + 2 * frames) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 48_000, 96_000, 2, 16) + b"data" + struct.pack("<I", 2 * frames)
    path = tmp_path / "long.wav"
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + 2 * frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadAudio, match="longer than 600 s"):
        load_audio(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_flac_whose_header_promises_years_is_refused():
    content = bytearray(INTACT["FLAC"])
    content[21] |= 0x0F  # the upper bits of the number of samples in STREAMINFO
    content[22:26] = b"\xff" * 4
    with pytest.raises(BadAudio, match="longer than"):
        load_audio(bytes(content))


@pytest.mark.parametrize("rate", [1, 100, 1_000_000])
def test_a_sample_rate_too_low_or_too_high_for_speech_is_refused(rate: int):
    with pytest.raises(BadAudio, match=f"^{rate} samples a second"):
        load_audio(encoded("WAV", tone(), rate))


@pytest.mark.parametrize("rate", [4_000, 44_101, 47_999, 191_999])
def test_an_odd_rate_is_resampled_in_little_memory(rate: int):
    """44,101 Hz shares no factor with 16 kHz: torchaudio's kernel alone would take 3 GB."""
    waveform = load_audio(encoded("WAV", tone(rate=rate), rate))
    assert len(waveform) == pytest.approx(6400, abs=1)
    spectrum = np.abs(np.fft.rfft(waveform.numpy()))
    assert spectrum.argmax() * 16_000 / len(waveform) == pytest.approx(300, abs=3)
    assert waveform[1000:-1000].abs().max().item() == pytest.approx(0.3, rel=0.02)


def test_both_resamplers_agree(monkeypatch: pytest.MonkeyPatch):
    samples = torch.from_numpy(tone(rate=22_050)).float()
    by_kernel = at_sample_rate(samples, 22_050)
    monkeypatch.setattr(audio, "_LARGEST_KERNEL", 1)
    otherwise = at_sample_rate(samples, 22_050)
    torch.testing.assert_close(otherwise[200:-200], by_kernel[200:-200], atol=2e-3, rtol=0)


def test_64_channels_are_averaged():
    levels = np.linspace(0.1, 1, 64)
    waveform = load_audio(encoded("WAV", tone()[:, None] * levels, subtype="FLOAT"))
    torch.testing.assert_close(waveform, torch.from_numpy(tone() * levels.mean()).float(), atol=1e-6, rtol=0)


def test_many_channels_are_read_block_by_block(monkeypatch: pytest.MonkeyPatch):
    content = encoded("WAV", np.random.default_rng(0).uniform(-1, 1, (5000, 5)), subtype="FLOAT")
    at_once = load_audio(content)
    monkeypatch.setattr(audio, "BLOCK", 999)
    torch.testing.assert_close(load_audio(content), at_once, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("worst", "reason"), [(np.nan, "not finite"), (np.inf, "not finite"), (1e30, "no sound"), (3e38, "no")]
)
def test_samples_that_are_not_finite_or_too_large_are_refused(worst: float, reason: str):
    samples = np.stack([tone(), tone()], axis=1)
    samples[7] = worst
    with pytest.raises(BadAudio, match=f"^{reason}"):
        load_audio(encoded("WAV", samples, subtype="FLOAT"))


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:10,\n/etc/passwd\n",
        "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n",
        "<html>404</html>",
        "\n\ufeff#EXTM3U\n# chansons d'\u00e9t\u00e9\n/etc/passwd\n",
        "#EXTM3U\n#\0\n/etc/passwd\n",
    ],
)
def test_a_text_file_is_never_given_to_ffmpeg(text, tmp_path, monkeypatch):
    """FFmpeg would open the files that a playlist names."""

    def decoder(source: object) -> None:
        pytest.fail("the text was opened")

    monkeypatch.setitem(sys.modules, "torchcodec.decoders", type("Decoders", (), {"AudioDecoder": decoder}))
    (tmp_path / "a.wav").write_bytes(text.encode())
    for source in (tmp_path / "a.wav", text.encode()):
        with pytest.raises(BadAudio, match=r"^unreadable: .*\(it holds text\)"):
            load_audio(source)


def test_an_endless_recording_that_ffmpeg_decodes_is_refused(monkeypatch):
    class Endless:
        def __init__(self, source: object) -> None: ...

        def get_samples_played_in_range(self, stop_seconds: float) -> object:
            data = torch.zeros(2, int(stop_seconds * 4000))
            return type("Samples", (), {"data": data, "sample_rate": 4000})

    monkeypatch.setitem(sys.modules, "torchcodec.decoders", type("Decoders", (), {"AudioDecoder": Endless}))
    with pytest.raises(BadAudio, match="longer than"):
        load_audio(b"\x00 of an unknown kind")


def test_paths_that_are_no_readable_files_are_refused(tmp_path: Path):
    loop = tmp_path / "loop.wav"
    loop.symlink_to(loop)
    os.mkfifo(tmp_path / "pipe.wav")  # reading it would wait forever
    for path in (
        loop,
        tmp_path / "pipe.wav",
        tmp_path,
        Path("/dev/zero"),
        Path("a\0b"),
        tmp_path / "nowhere",
    ):
        with pytest.raises(BadAudio, match=r"missing|cannot be opened|a folder, not a recording"):
            load_audio(path)
    for path, reason in (
        (loop, "missing: the link leads nowhere"),
        (tmp_path / "pipe.wav", "a pipe or a dev"),
    ):
        with pytest.raises(BadAudio, match=reason):
            load_audio(path)
        assert did_you_mean(path) == ""
    with pytest.raises(BadAudio, match="cannot be opened: File name too long"):
        load_audio("x" * 5000)


def test_a_pickle_named_wav_is_refused_and_runs_no_code(tmp_path: Path):
    path = tmp_path / "in" / "clip.wav"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Trap(tmp_path / "run")))
    with untouched(tmp_path), pytest.raises(BadAudio, match="unreadable"):
        load_audio(path)


def test_predict_on_a_hostile_folder_prints_one_line(tmp_path: Path):
    """The command runs in a process of its own and prints one line, no traceback."""
    (tmp_path / "\x1b[31mred.wav").write_bytes(b"no sound")
    done = subprocess.run(
        [sys.executable, "-m", "perser.cli", "predict", "--model", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("perser: error: ")
    assert len(done.stderr.splitlines()) == 1
