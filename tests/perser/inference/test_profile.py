from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from perser.errors import UserError
from perser.inference.profile import DIGEST, Enrolled, Profile, _digest

PROFILE = Profile(
    route="fake",
    model="/models/m",
    fingerprint="0123",
    emotions=("angry", "happy", "sad"),
    enrolled=(Enrolled("a.wav", ("sad",)), Enrolled("é.wav", ("angry", "happy"))),
    tensors={"bias": torch.tensor([1.0, 2.0, 3.0]), "other": torch.arange(4).reshape(2, 2).T},
)


def test_a_saved_profile_is_loaded_unchanged(tmp_path):
    PROFILE.save(tmp_path / "new" / "alice.profile")
    found = Profile.load(tmp_path / "new" / "alice.profile")
    for field in ("route", "model", "fingerprint", "emotions", "enrolled", "audio"):
        assert getattr(found, field) == getattr(PROFILE, field)
    assert found.labels == (("sad",), ("angry", "happy"))
    assert found.tensors.keys() == PROFILE.tensors.keys()
    for name, tensor in PROFILE.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], tensor)


def test_a_profile_replaces_only_another_profile(tmp_path):
    (tmp_path / "older").write_bytes(b"")
    PROFILE.save(tmp_path / "older")
    save_file({"a": torch.zeros(2)}, tmp_path / "before", metadata={"format": "perser-profile-1"})
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "alice.csv").write_text("path,emotions\n")
    for name in ("older", "before"):
        PROFILE.save(tmp_path / name)
        assert Profile.load(tmp_path / name).labels == PROFILE.labels
    for name in ("model.safetensors", "alice.csv"):
        content = (tmp_path / name).read_bytes()
        with pytest.raises(UserError, match=f"{name} exists and is no profile"):
            PROFILE.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content


def test_enrolled_clips_that_are_saved_are_loaded_in_order(tmp_path):
    clips = tuple(torch.randn(3 + i) for i in range(11))
    enrolled = tuple(Enrolled(f"{i}.wav", ("sad",)) for i in range(11))
    kept = Profile("fake", "m", "0123", PROFILE.emotions, enrolled, {}, clips)
    kept.save(tmp_path / "alice.profile")
    for found, clip in zip(Profile.load(tmp_path / "alice.profile").audio, clips, strict=True):
        np.testing.assert_array_equal(found, clip)


def test_a_truncated_profile_is_refused(tmp_path):
    PROFILE.save(tmp_path / "complete")
    content = (tmp_path / "complete").read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(UserError, match="cut is not a profile, or a damaged one") as caught:
            Profile.load(tmp_path / "cut")
        assert "\n" not in str(caught.value)


def test_another_kind_of_file_is_refused_and_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code was run",))

    (tmp_path / "pickle").write_bytes(pickle.dumps(Trap()))
    torch.save({"a": torch.zeros(2)}, tmp_path / "torch")
    save_file({"a": torch.zeros(2)}, tmp_path / "weights")
    for name in ("pickle", "torch", "weights"):
        with pytest.raises(UserError, match=f"{name} is not a profile"):
            Profile.load(tmp_path / name)
    with pytest.raises(UserError, match=r"no profile .*missing"):
        Profile.load(tmp_path / "missing")


@pytest.mark.parametrize(
    "changes",
    [{"enrolled": "["}, {"enrolled": "[[1]]"}, {"enrolled": "3"}, {"emotions": "null"}, {"route": None}],
    ids=str,
)
def test_a_damaged_header_is_refused(changes, tmp_path):
    PROFILE.save(tmp_path / "p")
    with safe_open(tmp_path / "p", framework="pt") as file:
        header = file.metadata() | changes
    header = {name: text for name, text in header.items() if text is not None and name != DIGEST}
    tensors = {"tensor:other": torch.zeros(1)}
    header[DIGEST] = _digest(header, tensors)
    save_file(tensors, tmp_path / "p", metadata=header)
    with pytest.raises(UserError, match=r"header of the profile .* is damaged"):
        Profile.load(tmp_path / "p")


def test_the_header_is_readable_json(tmp_path):
    PROFILE.save(tmp_path / "p")
    with safe_open(tmp_path / "p", framework="pt") as file:
        header = file.metadata()
    assert header["format"] == "perser-profile-3"
    assert json.loads(header["enrolled"]) == [["a.wav", ["sad"]], ["é.wav", ["angry", "happy"]]]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the profile"):
        PROFILE.save(tmp_path / "file" / "p")
