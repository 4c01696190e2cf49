from types import SimpleNamespace

import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from perser.errors import UserError
from perser.io.hub import find_model, is_hub_name, out_of_reach, trained_model_folder


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


def test_a_hub_name_has_an_owner():
    assert all(map(is_hub_name, ("somebody/speech-lm", "a1/b.c_d")))
    assert not any(map(is_hub_name, ("speech-lm", "/a/b", "./a", "../a", "a/b/c", "~/a", "a b/c", "")))


def test_a_trained_model_in_a_folder_is_taken_without_asking_the_hub(hub, tmp_path, monkeypatch):
    asked = hub(AssertionError("asked"))
    (tmp_path / "somebody" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert str(trained_model_folder("somebody/model")) == "somebody/model"
    assert asked == []


def test_only_what_runs_no_code_is_downloaded(hub, tmp_path, monkeypatch):
    hub(None)
    files = ["config.json", "encoder/model.safetensors", "base/tokenizer.model", "base/merges.txt", "LICENSE"]
    harmful = ["pytorch_model.bin", "base/weights.pt", "modeling.py", "data.pkl", "training_args.ckpt"]
    given = {}

    def snapshot_download(name, allow_patterns, **options):
        given.update(
            options,
            name=name,
            files=list(filter_repo_objects(files + harmful, allow_patterns=allow_patterns)),
        )
        return tmp_path

    monkeypatch.setattr("perser.io.hub.snapshot_download", snapshot_download)
    assert trained_model_folder("somebody/model", revision="one") == tmp_path
    expected = {"name": "somebody/model", "files": files, "revision": "one", "local_files_only": False}
    assert given == expected | {"token": None}


def test_what_was_downloaded_before_needs_no_network(hub, downloaded, tmp_path):
    hub(ConnectionError("no network"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    downloaded("somebody/mine", tmp_path / "mine")
    assert (trained_model_folder("somebody/mine") / "config.json").is_file()
    with pytest.raises(UserError, match=r"no model 'somebody/other'.* cannot be reached, and its local cache does not have the model"):
        trained_model_folder("somebody/other")


def test_a_name_that_is_nowhere_is_a_line(hub):
    hub(RepositoryNotFoundError("no", response=SimpleNamespace(headers={}, request=None)))
    with pytest.raises(
        UserError, match="no speech-LM model 'a/b': no such folder, and not on the Hugging Face"
    ):
        trained_model_folder("a/b", kind="speech-LM model")
    with pytest.raises(UserError, match="no model 'a/b/c': there is no such folder"):
        trained_model_folder("a/b/c")
