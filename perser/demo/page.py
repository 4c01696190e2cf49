"""The page's layout, and what happens on it; whatever a page knows is in its `Session`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import soundfile

from perser.audio import AUDIO_SUFFIXES, SAMPLE_RATE
from perser.demo.bars import alert, bars, notice
from perser.demo.limits import Limits
from perser.demo.session import Example, Session
from perser.errors import UserError
from perser.inference.recognizer import Recognizer

TITLE = "Emotions as you hear them"

INTRODUCTION = """<h1>Emotions as you hear them</h1>
<p>Give a few clips and say what you hear in them; then try another one. Each clip may have {seconds:g} s
and {megabytes} MB, and there may be {examples} examples. Nothing leaves this machine, and nothing stays on it
when the page is closed.</p>"""

CONSENT = """<p>What somebody feels is not told by this: use it with the consent of whoever
speaks, and never as evidence.</p>"""

Changes = dict[Any, Any]
"""New values of components, by component."""

CLEAN_UP_SECONDS, KEPT_SECONDS = 60, 300
"""How often files are looked through, and how old one may become; all were read long before."""

ALONE = {"concurrency_id": "models", "concurrency_limit": 1}
"""One event at a time, on all pages together: they share the models."""

QUIETLY = {"show_progress": "hidden", "api_visibility": "private", **ALONE}

PRESS_DOWNLOAD = "() => document.querySelector('#download').click()"


class Page:
    """Gradio's blocks (`blocks`), one layout for all who open the page and a session for each.

    Args:
        models: By name.
        limits: Of what is accepted.
        folder: For files.
    """

    def __init__(self, models: Mapping[str, Recognizer], limits: Limits, folder: Path) -> None:
        kept = (CLEAN_UP_SECONDS, KEPT_SECONDS)
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=kept) as self.blocks:
            self.session = gr.State(Session(models, limits, folder), delete_callback=Session.close)
            self.keys = gr.State(())  # of the examples that are shown
            gr.HTML(INTRODUCTION.format(**vars(limits)))
            self.message = gr.HTML(elem_id="message")
            with gr.Row():
                with gr.Column():
                    self._examples()
                with gr.Column():
                    self._trial()
                    self._keeping(models)
            gr.HTML(CONSENT)
            self._happen()

    def _examples(self) -> None:
        gr.HTML("<h2>Your examples</h2>")
        self.upload = gr.UploadButton(
            "Upload clips", file_count="multiple", file_types=sorted(AUDIO_SUFFIXES), elem_id="upload"
        )
        self.recorder = gr.Audio(
            sources="microphone", type="filepath", label="or record one", editable=False, elem_id="record"
        )

        @gr.render(inputs=[self.session, self.keys], triggers=[self.keys.change], **ALONE)
        def rows(session: Session, keys: tuple[str, ...]) -> None:
            for key in keys:
                if key in session.examples:
                    self._row(key, session.examples[key], session)

    def _row(self, key: str, example: Example, session: Session) -> None:
        with gr.Group(key=key):
            gr.HTML(_player(key, example), elem_classes="example", padding=True, key=f"{key} player")
            emotions = gr.CheckboxGroup(
                choices=list(session.emotions),
                value=list(example.emotions),
                label=f"What you hear in {key}",
                key=f"{key} emotions",
            )
            remove = gr.Button(f"Remove {key}", size="sm", key=f"{key} remove")
        emotions.input(
            lambda session, words: self._labeled(session, key, words),
            [self.session, emotions],
            [self.answer, self.message],
            trigger_mode="always_last",  # what is clicked meanwhile counts too
            **QUIETLY,
        )
        remove.click(
            lambda session: self._removed(session, key),
            self.session,
            [self.keys, self.answer, self.message],
            **QUIETLY,
        )

    def _trial(self) -> None:
        gr.HTML("<h2>Try a clip</h2>")
        self.clip = gr.Audio(type="filepath", label="A new clip", editable=False, buttons=[], elem_id="clip")
        self.answer = gr.HTML(bars([], ()), elem_id="answer")

    def _keeping(self, models: Mapping[str, Recognizer]) -> None:
        gr.HTML("<h2>Keep it</h2>")
        self.keep = {name: gr.Button(f"Download the profile for {name}") for name in models}
        self.download = gr.DownloadButton(visible="hidden", elem_id="download")
        self.load = gr.UploadButton("Load a profile", elem_id="load")

    def _happen(self) -> None:
        """What follows on what is done outside the examples' rows."""
        self.blocks.load(self._opened, self.session, self.session, **QUIETLY)
        self.blocks.unload(self._closed)
        changed, none_lost = [self.keys, self.message], {"trigger_mode": "multiple", **QUIETLY}
        self.upload.upload(self._uploaded, [self.session, self.upload], [*changed, self.upload], **none_lost)
        self.recorder.stop_recording(
            self._recorded, [self.session, self.recorder], [*changed, self.recorder], **none_lost
        )
        self.clip.change(self._chosen, [self.session, self.clip], [self.answer, self.message], **QUIETLY)
        self.load.upload(self._loaded, [self.session, self.load], [self.answer, self.message], **QUIETLY)
        for name, button in self.keep.items():
            saved = button.click(
                lambda session, name=name: self._saved(session, name),
                self.session,
                [self.download, self.message],
                **QUIETLY,
            )
            saved.then(None, js=PRESS_DOWNLOAD)

    def _opened(self, session: Session) -> Session:
        """What it gives, gradio deletes one day, by `Session.close`."""
        return session

    def _closed(self, request: gr.Request) -> None:
        """That day is today. Gradio would wait for an hour, and keep what it had rendered."""
        holder = self.blocks.state_holder
        holder.delete_state(request.session_hash)
        holder.session_data.pop(request.session_hash, None)

    def _uploaded(self, session: Session, paths: list[str] | None) -> Changes:
        return self._added(session, paths or []) | {self.upload: None}

    def _recorded(self, session: Session, path: str | None) -> Changes:
        return self._added(session, [path] if path else []) | {self.recorder: None}

    def _added(self, session: Session, paths: list[str]) -> Changes:
        """New examples; what cannot be used is named, and the others are taken."""
        problems = []
        for path in map(Path, paths):
            try:
                session.add(path)
            except UserError as error:
                problems.append(str(error))
        return {self.keys: tuple(session.examples), self.message: alert(problems)}

    def _labeled(self, session: Session, key: str, emotions: list[str]) -> Changes:
        session.label(key, emotions)
        return self._answered(session)

    def _removed(self, session: Session, key: str) -> Changes:
        session.remove(key)
        return {self.keys: tuple(session.examples)} | self._answered(session)

    def _chosen(self, session: Session, path: str | None) -> Changes:
        try:
            session.choose(None if path is None else Path(path))
        except UserError as error:
            return self._answered(session) | {self.message: alert([str(error)])}
        return self._answered(session)

    def _saved(self, session: Session, name: str) -> Changes:
        try:
            return {self.download: str(session.save_profile(name)), self.message: ""}
        except UserError as error:
            return {self.download: None, self.message: alert([str(error)])}

    def _loaded(self, session: Session, path: str) -> Changes:
        try:
            name = session.load_profile(Path(path))
        except UserError as error:
            return {self.message: alert([str(error)])}
        said = f"{name} answers by the profile {Path(path).name} until an example changes"
        return self._answered(session) | {self.message: notice(said)}

    def _answered(self, session: Session) -> Changes:
        return {self.answer: bars(session.replies(), session.emotions), self.message: ""}


def _player(key: str, example: Example) -> str:
    """The example to listen to: in the page itself, not in a file."""
    file = BytesIO()
    soundfile.write(file, example.waveform.numpy(), SAMPLE_RATE, format="FLAC")
    source = f"data:audio/flac;base64,{b64encode(file.getvalue()).decode()}"
    title = escape(f"{key}: {example.name}")
    return f'<h3>{title}</h3><audio controls src="{source}" aria-label="{title}"></audio>'
