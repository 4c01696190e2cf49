from __future__ import annotations

import numpy as np
import pytest
import soundfile

from perser.errors import UserError
from perser.web.limits import Limits, ServerLimits, TooLarge


@pytest.mark.parametrize("kind", [Limits, ServerLimits])
def test_a_limit_must_be_positive(kind):
    for name in vars(kind()):
        with pytest.raises(ValueError, match=name):
            kind(**{name: 0})


def test_a_file_and_its_content_are_refused_in_the_same_words(tmp_path):
    limits = Limits(seconds=1, megabytes=1)
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "good.wav", rng.normal(0, 0.1, 8_000), 16_000)
    soundfile.write(tmp_path / "long.wav", rng.normal(0, 0.1, 20_000), 16_000)
    soundfile.write(tmp_path / "large.wav", np.zeros(600_000), 16_000)
    (tmp_path / "note.wav").write_text("no sound")
    reasons = {"long": "longer than 1 s", "large": "larger than 1 MB", "note": "unreadable"}
    for name, reason in reasons.items():
        path = tmp_path / f"{name}.wav"
        for recording in (path, path.read_bytes()):
            with pytest.raises(UserError, match=f"^{name}: {reason}") as caught:
                limits.read(recording, name)
            assert isinstance(caught.value, TooLarge) == (name == "large")
    path = tmp_path / "good.wav"
    assert limits.read(path, "good").equal(limits.read(path.read_bytes(), "good"))
