import pytest

from perser.errors import UserError
from perser.hub import find_model, out_of_reach


@pytest.fixture
def hub(monkeypatch):
    """What the Hub is asked, and what it answers: an error to raise, or None for yes."""
    asked = []

    def answering(error):
        def info(self, name, timeout):
            asked.append((name, timeout))
            if error is not None:
                raise error

        monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
        return asked

    return answering


def test_a_folder_is_taken_without_asking_the_hub(hub, tmp_path, monkeypatch):
    asked = hub(AssertionError("asked"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for name in (str(tmp_path / "model"), "~/model"):
        source = find_model(name, "encoder", "tiny-one")
        assert (source.path, source.offline, source.is_folder) == (str(tmp_path / "model"), True, True)
    assert asked == []


@pytest.mark.parametrize(("error", "offline"), [(None, False), (ConnectionError("no network"), True)])
def test_a_hub_name_is_offline_only_while_the_hub_is_out_of_reach(hub, error, offline):
    asked = hub(error)
    source = find_model("somebody/something", "encoder", "tiny-one")
    assert (source.path, source.offline, source.is_folder) == ("somebody/something", offline, False)
    assert len(asked) == 1


def test_what_is_neither_is_named_with_its_kind_and_what_else_there_is(hub, tmp_path):
    with pytest.raises(UserError, match=r"is not a model folder: it has no config\.json"):
        find_model(str(tmp_path), "encoder", "tiny-one")
    with pytest.raises(UserError, match=r"no encoder '/no/folder': .* not one of tiny-one"):
        find_model("/no/folder", "encoder", "tiny-one")
    said = str(out_of_reach("a/b", "language model", "tiny-llama"))
    assert "for the language model 'a/b'" in said
    assert "tiny-llama" in said
