from __future__ import annotations

import pytest

from perser.errors import UserError
from perser.installed_routes import load_route_model


def test_a_folder_without_a_model_is_named_with_those_nearby(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_route_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no model of an installed route: train one"):
        load_route_model(tmp_path)
    model = tmp_path / "models" / "speech-lm"
    model.mkdir(parents=True)
    for name in ("config.json", "projector.safetensors"):
        (model / name).write_text("{}")
    with pytest.raises(UserError, match=r"there are .*models/speech-lm"):
        load_route_model(tmp_path)
