from __future__ import annotations

from types import SimpleNamespace

from perser.training.run_folder import RunFolder, running_folder


def test_a_process_that_looks_while_the_main_one_writes_finds_nothing_foreign(tmp_path, monkeypatch):
    running_folder(tmp_path / "out").mkdir()
    (running_folder(tmp_path / "out") / ".run.json-half").touch()
    monkeypatch.setattr("perser.training.run_folder.broadcast_object_list", lambda chosen: chosen)
    other = SimpleNamespace(is_main_process=False, wait_for_everyone=lambda: None)
    assert RunFolder(tmp_path / "out", {}, True, other).checkpoint is None
