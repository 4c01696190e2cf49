"""`perser demo`: its options, its errors, and how it starts and stops the page."""

from __future__ import annotations

import signal
from contextlib import contextmanager

import pytest

from perser.cli import demo as command
from perser.cli.main import main
from perser.cli.parser import parse_command
from perser.web.limits import Limits


def test_options_give_limits_and_a_list_of_models():
    values = parse_command(
        command.demo, ["--model", "one", "--model", "two", "--limits.seconds", "9", "--port", "1"]
    )
    assert values == {"model": ["one", "two"], "port": 1, "device": None, "limits": Limits(seconds=9)}


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr("perser.errors.find_spec", lambda package: None)
    with pytest.raises(SystemExit):
        main(["demo", "--model", "nowhere"])
    assert "perser demo needs the package gradio: pip install 'perser[demo]'" in capsys.readouterr().err


def test_a_missing_model_is_named(capsys, tmp_path):
    pytest.importorskip("gradio")
    with pytest.raises(SystemExit):
        main(["demo", "--model", str(tmp_path / "nowhere")])
    assert "nowhere': there is no such folder" in capsys.readouterr().err


def test_the_address_is_printed_and_a_signal_stops_the_page(fake_model, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio")
    events = []

    @contextmanager
    def serving(models, limits, port):
        events.append((list(models), limits, port))
        yield "http://here"
        events.append("closed")

    monkeypatch.setattr("perser.demo.serving.serving", serving)
    monkeypatch.setattr("signal.signal", lambda number, handler: events.append((number, handler)))
    monkeypatch.setattr("perser.cli.demo.Event.wait", lambda self: events.append("waited"))
    main(["demo", "--model", str(tmp_path / "model")])
    (number, handler), *rest = events
    assert number == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        handler(number, None)
    assert rest == [(["model"], Limits(), 7860), "waited", "closed"]
    assert "open http://here in a browser" in capsys.readouterr().out
