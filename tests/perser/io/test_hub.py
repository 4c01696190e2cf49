from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from perser.errors import UserError
from perser.io import hub as hub_module
from perser.io.hub import find_model, is_hub_name, out_of_reach, trained_model_folder


@pytest.fixture
def hub(monkeypatch):
    """Make the Hub answer with an error, or with yes (None), and record what it is asked."""
    requests = []

    def answering(error):
        def info(self, name, timeout):
            requests.append((name, timeout))
            if error is not None:
                raise error

        monkeypatch.setattr(HfApi, "model_info", info)
        return requests

    return answering


def test_a_folder_is_used_without_asking_the_hub(hub, tmp_path, monkeypatch):
    requests = hub(AssertionError("asked"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for name in (str(tmp_path / "model"), "~/model"):
        source = find_model(name, "encoder", "tiny-encoder")
        assert (source.path, source.offline, source.is_folder) == (str(tmp_path / "model"), True, True)
    assert requests == []


@pytest.mark.parametrize(("error", "offline"), [(None, False), (ConnectionError("no network"), True)])
def test_a_hub_name_is_offline_only_while_the_hub_is_out_of_reach(hub, error, offline):
    requests = hub(error)
    source = find_model("somebody/something", "encoder", "tiny-encoder")
    assert (source.path, source.offline, source.is_folder) == ("somebody/something", offline, False)
    assert len(requests) == 1


def test_the_error_for_an_unknown_model_names_its_kind_and_the_built_in_models(hub, tmp_path):
    with pytest.raises(UserError, match=r"is not a model folder: it has no config\.json"):
        find_model(str(tmp_path), "encoder", "tiny-encoder")
    with pytest.raises(UserError, match=r"no encoder '/no/folder': .* not one of tiny-encoder"):
        find_model("/no/folder", "encoder", "tiny-encoder")
    message = str(out_of_reach("a/b", "language model", "tiny-llama"))
    assert "for the language model 'a/b'" in message
    assert "tiny-llama" in message


def test_a_hub_name_has_an_owner():
    assert all(map(is_hub_name, ("somebody/speech-lm", "a1/b.c_d")))
    assert not any(map(is_hub_name, ("speech-lm", "/a/b", "./a", "../a", "a/b/c", "~/a", "a b/c", "")))


def test_a_trained_model_in_a_folder_is_used_without_asking_the_hub(hub, tmp_path, monkeypatch):
    requests = hub(AssertionError("asked"))
    (tmp_path / "somebody" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert str(trained_model_folder("somebody/model")) == "somebody/model"
    assert requests == []


def test_files_that_can_run_code_are_not_downloaded(hub, tmp_path, monkeypatch):
    hub(None)
    files = ["config.json", "encoder/model.safetensors", "base/tokenizer.model", "base/merges.txt", "LICENSE"]
    harmful = ["pytorch_model.bin", "base/weights.pt", "modeling.py", "data.pkl", "training_args.ckpt"]
    request = {}

    def snapshot_download(name, allow_patterns, **options):
        request.update(
            options,
            name=name,
            files=list(filter_repo_objects(files + harmful, allow_patterns=allow_patterns)),
        )
        return tmp_path

    monkeypatch.setattr(hub_module, "snapshot_download", snapshot_download)
    assert trained_model_folder("somebody/model", revision="abc") == tmp_path
    expected = {"name": "somebody/model", "files": files, "revision": "abc", "local_files_only": False}
    assert request == expected | {"token": None}


def test_a_downloaded_model_needs_no_network(hub, downloaded, tmp_path):
    hub(ConnectionError("no network"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    downloaded("somebody/mine", tmp_path / "mine")
    assert (trained_model_folder("somebody/mine") / "config.json").is_file()
    with pytest.raises(UserError, match=r"no model 'somebody/other'.*cannot be reached, and its local cache"):
        trained_model_folder("somebody/other")


def test_an_unknown_name_is_a_user_error(hub):
    hub(RepositoryNotFoundError("no", response=SimpleNamespace(headers={}, request=None)))
    with pytest.raises(
        UserError, match="no speech-LM model 'a/b': no such folder, and not on the Hugging Face"
    ):
        trained_model_folder("a/b", kind="speech-LM model")
    with pytest.raises(UserError, match="no model 'a/b/c': there is no such folder"):
        trained_model_folder("a/b/c")
