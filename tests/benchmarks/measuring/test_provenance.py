from __future__ import annotations

import torch
from safetensors.torch import save_file

from benchmarks.measuring.provenance import one_or_distinct, weights_digests


def test_a_digest_is_of_weights_alone(tmp_path):
    for name, number in (("one", 1.0), ("same", 1.0), ("other", 2.0)):
        (tmp_path / name).mkdir()
        save_file({"weight": torch.full((3,), number)}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(name)
    (tmp_path / "empty").mkdir()
    found = weights_digests(tmp_path)
    assert set(found) == {"one", "same", "other"}
    assert found["one"] == found["same"] != found["other"]
    assert weights_digests(tmp_path / "nothing") == {}


def test_what_differs_is_listed_once_each():
    assert one_or_distinct([2, 2]) == 2
    assert one_or_distinct([2, None, 2, {"a": 1}, {"a": 1}]) == [2, None, {"a": 1}]
