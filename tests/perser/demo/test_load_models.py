from __future__ import annotations

import pytest

from perser.demo.serving import load_models
from perser.errors import UserError
from perser.labels import EmotionSet


@pytest.fixture
def folders(tmp_path, monkeypatch, fake_model) -> list[str]:
    """Of models whose folders share a name or not; that in `deaf` tells other emotions apart."""
    deaf = type(fake_model)()
    deaf.emotions = EmotionSet(("angry", "sad"))
    turned = type(fake_model)()
    turned.emotions = EmotionSet(("sad", "happy", "angry"))
    models = {"deaf": deaf, "turned": turned}
    monkeypatch.setattr(
        "perser.inference.recognizer.load_route_model", lambda folder: models.get(folder.name, fake_model)
    )
    folders = [tmp_path / name for name in ("one", "two", "other/one", "deaf", "turned")]
    for one in folders:
        one.mkdir(parents=True)
    return [str(one) for one in folders]


def test_models_are_called_as_their_folders(folders):
    one, two, same, _, turned = folders
    assert list(load_models([one, two])) == ["one", "two"]
    assert list(load_models([one, same])) == [one, same]
    assert list(load_models([one, turned])) == ["one", "turned"], "the order is of no account"


def test_the_folder_that_one_stands_in_has_a_name(folders, monkeypatch):
    one, two, *_ = folders
    monkeypatch.chdir(one)
    assert list(load_models(["."])) == ["one"]
    assert list(load_models([".", two])) == ["one", "two"]


def test_models_that_do_not_go_together_are_refused(folders):
    one, *_, deaf, _ = folders
    with pytest.raises(UserError, match=r"different emotions .one: angry, happy, sad; deaf: angry, sad"):
        load_models([one, deaf])
    with pytest.raises(UserError, match="same one twice"):
        load_models([one, one])
    with pytest.raises(UserError, match="none given"):
        load_models([])
