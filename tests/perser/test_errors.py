from __future__ import annotations

import errno

import pytest

from perser.errors import UserError, explain_damage, one_line, require_package


def test_the_error_for_a_missing_package_names_its_extra():
    require_package("json", "some", "this")
    with pytest.raises(UserError, match=r"this needs the package no_such_one: pip install 'perser\[some\]'"):
        require_package("no_such_one", "some", "this")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ModuleNotFoundError("No module named 'peft'", name="peft"), "install peft"),
        (ImportError("FlashAttention2 cannot be used:\nnot installed"), "install flash-attn, or take"),
        (ImportError("`kernels` is not\ninstalled"), "install what it names"),
        (MemoryError(), "free some memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "free some memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "free some memory"),
        (ImportError("libtorch.so: failed to map segment from shared object", name="_C"), "free some memory"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "TMPDIR"),
        (AssertionError("Torch not compiled with CUDA enabled"), "use another device"),
        (RuntimeError("Expected all tensors to be on the same device"), "use another device"),
        (
            NotImplementedError("The operator 'aten::x' is not implemented for the MPS device"),
            "another device",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "let this program read it"),
        (OSError(errno.EMFILE, "Too many open files"), "let this program read it"),
        (ConnectionError("no route to the Hub"), "check the network"),
    ],
)
def test_an_error_that_no_file_causes_is_not_called_damage(error, advice):
    with pytest.raises(UserError, match=f"^cannot read the model .*{advice}") as raised, damage():
        raise error
    assert "damaged" not in str(raised.value)
    assert "train it again" not in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no number"),
        KeyError("emotions"),
        EOFError(),
        FileNotFoundError(errno.ENOENT, "No such file"),
        RuntimeError("Error(s) in loading state_dict"),
    ],
)
def test_an_error_that_a_file_can_cause_is_called_damage_unless_the_file_is_intact(error):
    with pytest.raises(UserError, match=r"^the model is damaged \(.+\): train it again"), damage():
        raise error
    known = r"^cannot read the model .*its files are what was saved"
    with pytest.raises(UserError, match=known), damage(intact=True):
        raise error


def damage(**options):
    return explain_damage("the model", "train it again", **options)


def test_what_a_terminal_cannot_show_is_escaped():
    assert one_line("a\ue000b\u202ec\udc80\u200b é 😀 名") == r"a\ue000b\u202ec\udc80\u200b é 😀 名"
    assert one_line("a\x1b[31m\nb\x00") == "a [31m b"
    assert one_line("\ue000" * 5000).isprintable()
