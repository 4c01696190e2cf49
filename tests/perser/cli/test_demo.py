from __future__ import annotations

import signal
from contextlib import contextmanager

import pytest

from perser.cli import demo as command
from perser.cli.main import main
from perser.cli.parser import parse_command
from perser.demo.limits import Limits


def test_its_options_make_limits_and_a_list_of_models():
    given = parse_command(
        command.demo, ["--model", "one", "--model", "two", "--limits.seconds", "9", "--port", "1"]
    )
    assert given == {"model": ["one", "two"], "port": 1, "device": None, "limits": Limits(seconds=9)}


def test_without_gradio_its_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr("perser.errors.find_spec", lambda package: None)
    with pytest.raises(SystemExit):
        main(["demo", "--model", "nowhere"])
    assert "perser demo needs the package gradio: pip install 'perser[demo]'" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_said(capsys, tmp_path):
    pytest.importorskip("gradio")
    with pytest.raises(SystemExit):
        main(["demo", "--model", str(tmp_path / "nowhere")])
    assert "nowhere': there is no such folder" in capsys.readouterr().err


def test_it_says_where_the_page_is_and_ends_with_it(fake_model, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio")
    happened = []

    @contextmanager
    def serving(models, limits, port):
        happened.append((list(models), limits, port))
        yield "http://here"
        happened.append("over")

    monkeypatch.setattr("perser.demo.serving.serving", serving)
    monkeypatch.setattr("signal.signal", lambda number, handler: happened.append((number, handler)))
    monkeypatch.setattr("perser.cli.demo.Event.wait", lambda self: happened.append("waited"))
    main(["demo", "--model", str(tmp_path / "model")])
    (number, ended), *rest = happened
    assert number == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        ended(number, None)
    assert rest == [(["model"], Limits(), 7860), "waited", "over"]
    assert "open http://here in a browser" in capsys.readouterr().out
