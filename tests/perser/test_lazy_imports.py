"""`from perser import Recognizer` works, and `import perser` alone loads nothing large."""

from __future__ import annotations

import subprocess
import sys

import pytest

import perser


def test_the_recognizers_are_loaded_on_first_use():
    from perser.inference import recognizer

    assert perser.Recognizer is recognizer.Recognizer
    assert perser.PersonalRecognizer is recognizer.PersonalRecognizer


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'perser' has no attribute 'Recogniser'"):
        _ = perser.Recogniser


def test_importing_perser_does_not_import_torch():
    code = "import sys, perser; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
