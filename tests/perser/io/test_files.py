from __future__ import annotations

import errno
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from perser.errors import UserError
from perser.io.files import (
    atomic_folder,
    check_output,
    check_outputs,
    explain_write_errors,
    write_text_atomic,
)

MARKER = "card.json"


def fill(out, text="new"):
    with atomic_folder(out, MARKER) as folder:
        (folder / MARKER).write_text(text)


def test_a_folder_appears_when_it_is_complete(tmp_path):
    out = tmp_path / "deep" / "out"
    with atomic_folder(out, MARKER) as folder:
        (folder / MARKER).write_text("new")
        assert not out.exists()
    assert (out / MARKER).read_text() == "new"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_permissions_follow_the_umask(tmp_path):
    """safetensors makes files that only their owner can read."""
    before = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "out", MARKER) as folder:
            fill(folder / "in")
            save_file({"one": np.zeros(2)}, folder / "in" / "weights.safetensors")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode)[-3:] for path in (tmp_path / "out").rglob("*")}
    assert modes == {"in": "750", MARKER: "640", "weights.safetensors": "640"}
    assert oct((tmp_path / "out").stat().st_mode)[-3:] == "750"


def test_a_failure_leaves_the_old_folder(tmp_path):
    out = tmp_path / "out"
    fill(out, "old")

    def fail_half_way():
        with atomic_folder(out, MARKER) as folder:
            (folder / MARKER).write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert (out / MARKER).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_new_folder_is_there_if_the_process_dies_while_deleting_the_old_one(tmp_path, monkeypatch):
    out = tmp_path / "out"
    fill(out, "old")
    remove = shutil.rmtree

    def killed(path, **how):
        if (path / MARKER).exists():
            raise KeyboardInterrupt
        remove(path, **how)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(out, "new")
    assert (out / MARKER).read_text() == "new"


def test_a_folder_of_the_same_kind_is_replaced(tmp_path):
    out = tmp_path / "out"
    fill(out, "old")
    (out / "left over").touch()
    fill(out, "new")
    assert [path.name for path in out.iterdir()] == [MARKER]


def test_a_folder_of_another_kind_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds no card\.json"):
        fill(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_is_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    fill(out)
    assert (out / MARKER).exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file.out \(Not a directory\)"):
        fill(tmp_path / "file" / "out")
    with pytest.raises(UserError, match=r"cannot write .*out: .*file is a file, not a folder: give another"):
        check_output(tmp_path / "file" / "out", MARKER)
    check_output(tmp_path / "out", MARKER)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_text_is_written_without_leftovers(tmp_path):
    write_text_atomic(tmp_path / "a" / "b.txt", "text")
    assert (tmp_path / "a" / "b.txt").read_text() == "text"
    assert len(list((tmp_path / "a").iterdir())) == 1


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out is a folder: give the name of a file"):
        write_text_atomic(tmp_path / "out", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_outputs_of_the_other_kind_or_below_a_file_are_refused_and_nothing_is_left(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("mine")
    folder.mkdir()
    for outputs, message in (
        ({"files": {"json": folder}}, "folder is a folder: give the name of a file"),
        ({"folders": {"json": file}}, "file is a file: give a folder"),
        ({"files": {"json": file / "x"}}, "file is a file, not a folder"),
        ({"files": {"json": file / "deep" / "x"}}, "file is a file, not a folder"),
        ({"folders": {"json": file / "x"}}, "file is a file, not a folder"),
        ({"files": {"json": folder / ("x" * 5000) / "y"}}, "cannot write"),
    ):
        with pytest.raises(UserError, match=f"^json: .*{message}"):
            check_outputs(**outputs)
    check_outputs({"a": None, "b": file, "c": tmp_path / "new" / "x"}, {"d": folder, "e": tmp_path / "new"})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    assert file.read_text() == "mine"


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    """Root may write everywhere: the system's refusal is played."""

    def refused(*_, **__):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    for outputs in ({"files": {"out": tmp_path / "x"}}, {"folders": {"out": tmp_path}}):
        with pytest.raises(UserError, match=r"^out: cannot write .* \(Permission denied\)$"):
            check_outputs(**outputs)


def test_a_device_or_a_pipe_is_never_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for write in (lambda path: check_outputs({"out": path}), lambda path: write_text_atomic(path, "text")):
        with pytest.raises(UserError, match="pipe is a device or a pipe"):
            write(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    for text in ("first", "second"):
        write_text_atomic(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "file").read_text() == text


def test_the_outermost_block_says_what_could_not_be_written(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"^cannot write the run \(Not a directory\): make room$"),
        explain_write_errors("the run", "make room"),
    ):
        write_text_atomic(tmp_path / "file" / "x", "text")


@pytest.mark.parametrize("name", ["x" * 250, "é" * 125, "😀" * 62, "caf\udce9" * 50])
def test_a_file_or_folder_may_have_the_longest_name_that_the_system_takes(name, tmp_path):
    """A temporary name that is longer would only be refused when all is computed."""
    write_text_atomic(tmp_path / name, "one")
    assert (tmp_path / name).read_text() == "one"
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [os.fsencode(name)]


@pytest.mark.parametrize("name", ["x" * 250, "😀" * 62])
def test_a_folder_of_the_longest_name_is_replaced(name, tmp_path):
    for text in ("old", "new"):
        fill(tmp_path / name, text)
        assert (tmp_path / name / MARKER).read_text() == text


def test_a_name_that_is_too_long_is_refused_before_anything_is_computed(tmp_path):
    for outputs in ({"files": {"out": tmp_path / ("x" * 300)}}, {"folders": {"out": tmp_path / ("x" * 300)}}):
        with pytest.raises(UserError, match=r"^out: cannot write .*name too long"):
            check_outputs(**outputs)
