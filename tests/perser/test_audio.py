from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from perser.audio import SAMPLE_RATE, BadAudio, load_audio


def tone(pitch: float, seconds: float, rate: int) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def loudest(waveform: torch.Tensor) -> float:
    """Return the frequency (Hz) of the highest peak of the spectrum."""
    return float(np.abs(np.fft.rfft(waveform.numpy())).argmax() * SAMPLE_RATE / len(waveform))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_becomes_16_khz(rate: int, tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", tone(1000, 0.5, rate), rate)
    waveform = load_audio(tmp_path / "a.wav")
    assert waveform.dtype == torch.float32
    assert waveform.ndim == 1
    assert len(waveform) == pytest.approx(8000, abs=1)
    assert loudest(waveform) == pytest.approx(1000, abs=4)
    assert waveform.square().mean().sqrt().item() == pytest.approx(0.5 / 2**0.5, rel=0.03)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_common_formats_are_decoded(suffix: str, tmp_path: Path):
    soundfile.write(tmp_path / f"a.{suffix}", tone(500, 0.5, 16_000), 16_000)
    waveform = load_audio(tmp_path / f"a.{suffix}")
    assert len(waveform) == pytest.approx(8000, abs=1200)  # mp3 pads
    assert loudest(waveform) == pytest.approx(500, abs=4)


def test_channels_are_averaged(tmp_path: Path):
    left, right = tone(300, 0.2, 16_000), tone(700, 0.2, 16_000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    expected = torch.from_numpy((left + right) / 2).float()
    torch.testing.assert_close(load_audio(tmp_path / "a.wav"), expected)


def write_bad(path: Path, kind: str) -> None:
    samples = tone(300, 0.5, 16_000)
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(b"<html>404 Not Found</html>" * 50)
    elif kind == "no samples":
        soundfile.write(path, samples[:0], 16_000)
    elif kind == "silence":
        soundfile.write(path, 0 * samples, 16_000)
    elif kind in ("nan", "inf"):
        samples[100] = float(kind)
        soundfile.write(path, samples, 16_000, subtype="FLOAT")
    elif kind == "brief":
        soundfile.write(path, samples[:480], 16_000)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("no file", "missing"),
        ("zero bytes", "empty"),
        ("garbage", "unreadable: Format not recognised"),
        ("no samples", "empty"),
        ("silence", "silent"),
        ("nan", "not finite"),
        ("inf", "not finite"),
        ("brief", r"too short \(0.03 s\)"),
    ],
)
def test_the_error_for_a_bad_file_is_the_reason_on_one_line(kind: str, reason: str, tmp_path: Path):
    write_bad(tmp_path / "a.wav", kind)
    with pytest.raises(BadAudio, match=f"^{reason}") as caught:
        load_audio(tmp_path / "a.wav")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["folder.wav", "headerless.raw"])
def test_files_that_confuse_decoders_are_bad_audio(name: str, tmp_path: Path):
    path = tmp_path / name
    path.mkdir() if name.startswith("folder") else path.write_bytes(b"\x01\x02" * 4000)
    with pytest.raises(BadAudio):
        load_audio(path)


def test_the_shortest_length_can_be_set(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", tone(300, 0.05, 16_000), 16_000)
    assert len(load_audio(tmp_path / "a.wav", min_seconds=0.05)) == 800


def test_torchcodec_decodes_what_soundfile_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a fake torchcodec, because the real one needs FFmpeg's libraries."""
    samples = torch.from_numpy(tone(300, 0.2, 32_000)).float().expand(2, -1)

    class AudioDecoder:
        def __init__(self, path: Path) -> None:
            if path.suffix != ".m4a":
                raise RuntimeError("no decoder for this")

        def get_samples_played_in_range(self, stop_seconds: float | None) -> SimpleNamespace:
            stop = None if stop_seconds is None else int(32_000 * stop_seconds)
            return SimpleNamespace(data=samples[:, :stop], sample_rate=32_000)

    monkeypatch.setitem(sys.modules, "torchcodec.decoders", SimpleNamespace(AudioDecoder=AudioDecoder))
    for suffix in ("m4a", "xyz"):
        (tmp_path / f"a.{suffix}").write_bytes(b"\x00something compressed")
    assert len(load_audio(tmp_path / "a.m4a")) == 3200
    with pytest.raises(BadAudio, match="unreadable: no decoder for this"):
        load_audio(tmp_path / "a.xyz")
    assert len(load_audio(tmp_path / "a.m4a", max_seconds=0.2)) == 3200
    with pytest.raises(BadAudio, match=r"longer than 0\.15 s"):
        load_audio(tmp_path / "a.m4a", max_seconds=0.15)


@pytest.fixture(scope="module")
def has_ffmpeg() -> bool:
    """Whether torchcodec finds FFmpeg's libraries here."""
    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def test_ffmpeg_is_here_or_not_as_the_run_was_told(has_ffmpeg: bool):
    """`.ci/audio_tests` runs these tests with FFmpeg and without."""
    told = os.environ.get("PERSER_TEST_FFMPEG")
    if told is None:
        pytest.skip("the variable PERSER_TEST_FFMPEG says neither 'with' nor 'without'")
    assert told == ("with" if has_ffmpeg else "without")


@pytest.mark.parametrize(("suffix", "kind"), [("m4a", "mp4"), ("aac", "adts"), ("raw", "mp4")])
def test_what_only_ffmpeg_decodes_is_read_or_refused(
    suffix: str, kind: str, tmp_path: Path, has_ffmpeg: bool
):
    path = tmp_path / f"a.{suffix}"
    if not has_ffmpeg:
        path.write_bytes(b"\x00\x00\x00\x1cftypM4A \x00\x00\x02\x00" * 50)
        with pytest.raises(BadAudio, match="FFmpeg not found"):
            load_audio(path)
        return
    from datasets.features._torchcodec import AudioDecoder as DatasetsDecoder
    from torchcodec.decoders import AudioDecoder
    from torchcodec.encoders import AudioEncoder

    left = torch.from_numpy(tone(500, 1, 48_000)).float()
    encoder = AudioEncoder(torch.stack([left, torch.zeros_like(left)]), sample_rate=48_000)
    path.write_bytes(encoder.to_tensor(kind).numpy().tobytes())
    waveform = load_audio(path)
    assert len(waveform) == pytest.approx(16_000, abs=1200)
    assert loudest(waveform) == pytest.approx(500, abs=4)
    assert waveform.square().mean().sqrt().item() == pytest.approx(0.5 / 2**0.5, rel=0.05)
    for source in (path.read_bytes(), AudioDecoder(path), DatasetsDecoder(str(path))):
        torch.testing.assert_close(load_audio(source), waveform)
    torch.testing.assert_close(load_audio(AudioDecoder(path).get_all_samples()), waveform)
    with pytest.raises(BadAudio, match=r"longer than 0\.5 s"):
        load_audio(AudioDecoder(path), max_seconds=0.5)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_the_longest_length_can_be_set_and_more_is_not_decoded(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(300, 2, 11_025), 11_025)
    assert torch.equal(load_audio(path, max_seconds=2), load_audio(path))
    read, decoded = soundfile.SoundFile.read, []

    def counted(*args, **options):
        decoded.append(read(*args, **options))
        return decoded[-1]

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    for seconds in (1.9999, 0.5):
        with pytest.raises(BadAudio, match=f"^longer than {seconds:g} s$"):
            load_audio(path, max_seconds=seconds)
        assert sum(map(len, decoded)) <= 11_025 * seconds + 2


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_the_content_of_a_file_is_decoded_like_the_file(suffix: str, tmp_path: Path):
    soundfile.write(tmp_path / f"a.{suffix}", tone(500, 0.5, 22_050), 22_050)
    content = (tmp_path / f"a.{suffix}").read_bytes()
    assert torch.equal(load_audio(content), load_audio(tmp_path / f"a.{suffix}"))
    with pytest.raises(BadAudio, match="empty"):
        load_audio(b"")
    with pytest.raises(BadAudio, match="unreadable"):
        load_audio(b"no sound")
