from __future__ import annotations

import pytest

from perser.errors import UserError
from perser.labels import EmotionSet
from perser.web.models import load_models


@pytest.fixture
def folders(tmp_path, monkeypatch, fake_model) -> list[str]:
    """Folders of models. Two have the same name; `fewer` knows other emotions, `reordered` the same in
    another order."""
    fewer = type(fake_model)()
    fewer.emotions = EmotionSet(("angry", "sad"))
    reordered = type(fake_model)()
    reordered.emotions = EmotionSet(("sad", "happy", "angry"))
    models = {"fewer": fewer, "reordered": reordered}
    monkeypatch.setattr(
        "perser.inference.recognizer.load_route_model", lambda folder: models.get(folder.name, fake_model)
    )
    folders = [tmp_path / name for name in ("first", "second", "other/first", "fewer", "reordered")]
    for folder in folders:
        folder.mkdir(parents=True)
    return list(map(str, folders))


def test_models_are_named_after_their_folders(folders):
    first, second, same, _, reordered = folders
    assert list(load_models([first, second])) == ["first", "second"]
    assert list(load_models([first, same])) == [first, same]
    assert list(load_models([first, reordered])) == ["first", "reordered"], "the order does not matter"


def test_the_working_folder_has_a_name(folders, monkeypatch):
    first, second, *_ = folders
    monkeypatch.chdir(first)
    assert list(load_models(["."])) == ["first"]
    assert list(load_models([".", second])) == ["first", "second"]


def test_models_that_do_not_match_are_refused(folders):
    first, *_, fewer, _ = folders
    with pytest.raises(UserError, match=r"different emotions .first: angry, happy, sad; fewer: angry, sad"):
        load_models([first, fewer])
    with pytest.raises(UserError, match="same one twice"):
        load_models([first, first])
    with pytest.raises(UserError, match="none given"):
        load_models([])
