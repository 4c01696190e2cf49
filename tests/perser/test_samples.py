"""A recording in memory, in any form, gives the samples of its file, or the file's error."""

from __future__ import annotations

import io
import wave
from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from perser import samples as module
from perser.audio import BadAudio, load_audio
from perser.samples import is_single

RATE = 16_000
TIME = np.arange(8000) / RATE
TONE = (0.3 * np.sin(2 * np.pi * 300 * TIME)).astype(np.float32)
WHOLE = np.round(TONE * 2**15).astype(np.int16)
OTHER = (0.2 * np.sin(2 * np.pi * 470 * TIME)).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def decoder_of(samples: np.ndarray, rate: int = RATE) -> Any:
    """Return what behaves like torchcodec's AudioDecoder of a recording of one channel."""

    def decode(stop_seconds: float) -> SimpleNamespace:
        return SimpleNamespace(
            data=torch.from_numpy(samples[: int(stop_seconds * rate)])[None], sample_rate=rate
        )

    return SimpleNamespace(get_samples_played_in_range=decode)


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda samples: samples,
    "float64": lambda samples: samples.astype(np.float64),
    "big-endian": lambda samples: samples.astype(">f4"),
    "tensor": torch.from_numpy,
    "tensor with gradient": lambda samples: torch.tensor(samples, requires_grad=True),
    "list": lambda samples: samples.tolist(),
    "tuple": lambda samples: tuple(samples.tolist()),
    "memory of floats": lambda samples: memoryview(samples),
    "array.array": lambda samples: array("f", samples.tobytes()),
    "backwards in memory": lambda samples: samples[::-1].copy()[::-1],
    "every second value in memory": lambda samples: np.repeat(samples, 2)[::2],
    "one channel in front": lambda samples: samples[None],
    "one channel behind": lambda samples: samples[:, None],
    "two channels in front": lambda samples: torch.from_numpy(np.stack([samples, samples])),
    "two channels behind": lambda samples: np.stack([samples, samples], axis=1),
    "soundfile's pair": lambda samples: (samples, RATE),
    "scipy's pair": lambda samples: (RATE, samples),
    "mapping": lambda samples: {"array": samples, "sampling_rate": RATE},
    "mapping of a list": lambda samples: {"array": samples.tolist(), "sampling_rate": float(RATE)},
    "mapping of a pipeline": lambda samples: {"raw": samples, "sampling_rate": np.int64(RATE)},
    "mapping of content": lambda samples: {"bytes": wav(samples), "path": "a.wav"},
    "content": wav,
    "bytearray": lambda samples: bytearray(wav(samples)),
    "memoryview": lambda samples: memoryview(wav(samples)),
    "open file": lambda samples: io.BytesIO(wav(samples)),
    "decoder": decoder_of,
    "decoded": lambda samples: SimpleNamespace(data=torch.from_numpy(samples)[None], sample_rate=RATE),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_samples_of_the_file(form: str):
    waveform = load_audio(FORMS[form](TONE))
    assert waveform.dtype == torch.float32
    assert torch.equal(waveform, load_audio(wav(TONE)))


def test_a_file_is_found_by_text_path_and_mapping_and_read_from_its_beginning(tmp_path: Path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(TONE))
    for source in (str(path), path, {"path": str(path)}, {"bytes": None, "path": path}):
        assert torch.equal(load_audio(source), torch.from_numpy(TONE))
    with path.open("rb") as stream:
        for _ in range(2):  # the first time reads it to its end
            assert torch.equal(load_audio(stream), torch.from_numpy(TONE))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_whole_numbers_are_scaled_by_their_type(dtype: str):
    limits = np.iinfo(dtype)
    middle = (int(limits.max) + int(limits.min) + 1) // 2
    values = np.array([round(float(x) * 2 ** (limits.bits - 1)) + middle for x in TONE], dtype=dtype)
    for source in (values, (values[:, None], RATE), torch.from_numpy(values)):
        np.testing.assert_allclose(load_audio(source), TONE, atol=2.0 ** (1 - min(limits.bits, 24)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_precision_are_taken(dtype: torch.dtype):
    np.testing.assert_allclose(load_audio(torch.from_numpy(TONE).to(dtype)), TONE, atol=2e-3)


def test_the_ends_of_a_type_are_full_scale():
    loud = np.where(WHOLE > 0, 32767, -32768).astype(np.int16)
    waveform = load_audio(loud)
    assert (waveform.min(), waveform.max()) == (-1, 32767 / 32768)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 44_101, 48_000])
def test_samples_at_another_rate_are_resampled_like_the_file(rate: int):
    tone = (0.3 * np.sin(2 * np.pi * 300 * np.arange(rate // 2) / rate)).astype(np.float32)
    expected = load_audio(wav(tone, rate))
    assert len(expected) == pytest.approx(8000, abs=1)
    for source in ({"array": tone, "sampling_rate": rate}, (tone, rate), decoder_of(tone, rate)):
        assert torch.equal(load_audio(source), expected)


BAD = {
    "empty": TONE[:0],
    "one sample": TONE[5:6],
    "20 ms": TONE[:320],
    "zeros": 0 * TONE,
    "constant": 0 * TONE + 0.2,
    "NaN": np.where(TIME[7] == TIME, np.nan, TONE),
    "infinity": np.where(TIME[7] == TIME, np.inf, TONE),
    "values of 16 bits": TONE * 32768,
    "11 minutes": np.resize(TONE, 11 * 60 * RATE),
}


@pytest.mark.parametrize("bad", BAD)
def test_samples_are_refused_in_the_words_that_a_file_gets(bad: str):
    samples = BAD[bad].astype(np.float32)
    with pytest.raises(BadAudio) as of_file:
        load_audio(wav(samples))
    for source in (
        samples,
        torch.from_numpy(samples),
        (samples, RATE),
        decoder_of(samples),
        io.BytesIO(wav(samples)),
    ):
        with pytest.raises(BadAudio) as of_samples:
            load_audio(source)
        assert str(of_samples.value) == str(of_file.value)


def test_rates_are_checked_like_those_of_files():
    for rate, reason in (
        *((100, "100 samples a second"), (0, "0 samples a second"), (-RATE, "-16000 samples a second")),
        *(
            (10**6, "1000000 samples a second"),
            (16_000.5, r"a sampling rate of 16000\.5"),
            ("fast", "'fast'"),
        ),
        (None, "samples without their rate"),
    ):
        with pytest.raises(BadAudio, match=reason):
            load_audio({"array": TONE, "sampling_rate": rate})


def test_whole_numbers_without_their_own_type_are_named():
    for values in (WHOLE.tolist(), WHOLE.astype(np.int64)):
        with pytest.raises(BadAudio, match=r"^silent as int64: give .* like int16$"):
            load_audio(values)
    with pytest.raises(BadAudio, match=r"^silent$"):
        load_audio(np.zeros(8000, dtype=np.int64))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "missing"),
        ({}, "missing"),
        ({"bytes": None, "path": ""}, "missing"),
        ({"bytes": b"", "path": "a.wav"}, "empty"),
        ({"waveform": TONE, "rate": 8000}, "a mapping with 'waveform', 'rate', and neither 'array'"),
        ({"bytes": "UklGRg=="}, "text under 'bytes'"),
        ((TONE, "16000"), r"a tuple of ndarray and str\): give samples, or \(samples, rate\)"),
        ([TONE, 16000], r"a list of ndarray and int\)"),
        (3.5, r"samples of shape \(\)"),
        (object(), "no recording"),
        ([[0.1, 0.2], [0.1]], "no recording"),
        ([[0.1] * 8000, [0.2] * 8000], r"lists of shape \(2, 8000\): give an array"),
        (["0.1"] * 8000, "no recording"),
        (np.ones(8000, dtype=bool), r"no recording \(ndarray of bool\)"),
        (np.ones(8000, dtype=complex), r"no recording \(ndarray of complex128\)"),
        (np.array([0.1, None] * 4000), r"no recording \(ndarray of object\)"),
        (np.ones((2, 3, 8000)), r"samples of shape \(2, 3, 8000\)"),
        (np.ones((80, 3000)), r"samples of shape \(80, 3000\): no recording has 80 channels"),
        (np.ones((90, 90)), r"samples of shape \(90, 90\)"),
        (torch.ones(8000).to_sparse(), "no recording"),
        (io.StringIO("text"), "gives str instead of bytes"),
        (SimpleNamespace(read=None), "cannot be read"),
        (io.BytesIO(), "empty"),
        (b"no sound", "unreadable"),
    ],
)
def test_what_is_no_recording_is_refused_in_one_line(source: Any, reason: str):
    with pytest.raises(BadAudio, match=reason) as error:
        load_audio(source)
    assert str(error.value).isprintable()


def test_an_open_file_without_end_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LARGEST_STREAM", 1 << 22)
    endless = SimpleNamespace(read=lambda size: bytes(size))
    with pytest.raises(BadAudio, match="larger than 4 MiB"):
        load_audio(endless)
    closed = io.BytesIO(wav(TONE))
    closed.close()
    with pytest.raises(BadAudio, match="cannot be read: I/O operation on closed file"):
        load_audio(closed)


def test_samples_belong_to_their_owner():
    own = TONE.copy()
    own.setflags(write=False)
    waveform = load_audio(own)
    waveform[:] = 0
    np.testing.assert_array_equal(own, TONE)


NOISE = np.random.default_rng(0).normal(0, 1e-3, (len(TONE), 8)).astype(np.float32)
CHANNELS = {
    "a silent one": [TONE, 0 * TONE],
    "a silent one first": [0 * TONE, TONE],
    "a faint one": [TONE, NOISE[:, 0]],
    "one with nothing but an offset": [TONE, 0 * TONE + 0.3],
    "many silent ones": [*[0 * TONE] * 5, TONE],
    "opposite": [TONE, -TONE],
    "opposite and silent": [TONE, 0 * TONE, -TONE],
    "the same": [TONE, TONE],
    "opposite pairs": [TONE, -TONE, TONE, -TONE],
}


@pytest.mark.parametrize("held", [module._HELD, 1])
@pytest.mark.parametrize("channels", CHANNELS)
def test_a_channel_adds_to_the_mix_or_leaves_it_alone(channels: str, held: int, monkeypatch):
    monkeypatch.setattr(module, "_HELD", held)  # 1: the recording is read twice
    samples = np.stack(CHANNELS[channels], axis=1)
    for source in (samples, samples.T, wav(samples), decoder_of_channels(samples)):
        np.testing.assert_allclose(load_audio(source), TONE, atol=1e-6)


def decoder_of_channels(samples: np.ndarray) -> Any:
    decoded = SimpleNamespace(data=torch.from_numpy(samples.T.copy()), sample_rate=RATE)
    return SimpleNamespace(get_samples_played_in_range=lambda stop_seconds: decoded)


def test_a_channel_that_is_almost_opposite_does_not_cancel_the_other():
    samples = np.stack([TONE + NOISE[:, 0], NOISE[:, 1] - 0.8 * TONE], axis=1)
    np.testing.assert_allclose(load_audio(samples), 0.9 * TONE, atol=5e-3)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]])
def test_pairs_of_opposite_channels_do_not_cancel_each_other_out(order):
    """Two sounds, each on two channels of which one is turned over. The louder sound keeps its direction."""
    pairs = np.stack([TONE, -TONE, 0.5 * OTHER, -0.5 * OTHER], axis=1)[:, order]
    mixed = load_audio(pairs).numpy()
    wanted = [(first * TONE + second * 0.5 * OTHER) / 2 for first in (1, -1) for second in (1, -1)]
    assert min(np.abs(mixed - each).max() for each in wanted) < 1e-6


def test_different_channels_are_averaged():
    np.testing.assert_allclose(load_audio(np.stack([TONE, OTHER])), (TONE + OTHER) / 2, atol=1e-6)


def test_channels_that_are_all_silent_are_silent():
    for level in (0.0, 3e-5):
        with pytest.raises(BadAudio, match=r"^silent$"):
            load_audio(np.stack([0 * TONE, level * np.sign(TONE)]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_value_in_any_channel_is_refused(bad: float):
    samples = np.stack([TONE, 0 * TONE, -TONE])
    for channel in range(3):
        broken = samples.copy()
        broken[channel, 9] = bad
        with pytest.raises(BadAudio, match="not finite"):
            load_audio(broken)


@pytest.mark.parametrize("open_file", [soundfile.SoundFile, wave.open])
def test_an_open_object_of_a_library_is_told_what_to_give(open_file, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.1), 16_000)
    with open_file(str(tmp_path / "a.wav")) as recording:
        assert is_single(recording)
        with pytest.raises(
            BadAudio, match=r"no recording \(an open .*\): give the file itself, or \(samples, rate\)"
        ):
            load_audio(recording)
