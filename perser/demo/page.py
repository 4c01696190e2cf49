"""The page's layout and its events; its state is in a `Session`."""

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
from perser.demo.session import Example, Session
from perser.errors import UserError
from perser.inference.recognizer import Recognizer
from perser.web.limits import Limits

TITLE = "Emotions as you hear them"

INTRODUCTION = """<h1>Emotions as you hear them</h1>
<p>Upload a few clips and say which emotions you hear
in them; then try another clip. A clip can be up to {seconds:g} s long and {megabytes} MB large, and there
can be up to {examples} examples. Nothing leaves this machine, and everything is deleted when you close the
page.</p>"""

CONSENT = """<p>The answers do not show what anybody feels: use them only with the consent of the person
who speaks, and never as evidence.</p>"""

Changes = dict[Any, Any]
"""New values by component."""

CLEAN_UP_SECONDS, MAX_AGE_SECONDS = 60, 300
"""How often gradio looks for old files, and the age at which it deletes one; all were read long before."""

ALONE = {"concurrency_id": "models", "concurrency_limit": 1}
"""One event at a time on all pages together: the answers of a page appear in the order of its events."""

QUIETLY = {"show_progress": "hidden", "api_visibility": "private", **ALONE}

PRESS_DOWNLOAD = "() => document.querySelector('#download').click()"


class DemoPage:
    """The page as gradio's blocks (`blocks`): one layout for all visitors, and a session for each.

    Args:
        models: The models by name.
        limits: What the page accepts.
        folder: Folder for files.
    """

    def __init__(self, models: Mapping[str, Recognizer], limits: Limits, folder: Path) -> None:
        delete_cache = (CLEAN_UP_SECONDS, MAX_AGE_SECONDS)
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=delete_cache) as self.blocks:
            self.session = gr.State(Session(models, limits, folder), delete_callback=Session.close)
            self.keys = gr.State(())  # keys of the examples that are shown
            self.labels = gr.State(())  # labels of the person's own that are shown
            gr.HTML(INTRODUCTION.format(**vars(limits)))
            self.message = gr.HTML(elem_id="message")
            with gr.Row():
                with gr.Column():
                    self._examples()
                with gr.Column():
                    self._trial()
                    self._profiles(models)
            gr.HTML(CONSENT)
            self._connect_events()

    def _examples(self) -> None:
        gr.HTML("<h2>Your examples</h2>")
        self.upload = gr.UploadButton(
            "Upload clips", file_count="multiple", file_types=sorted(AUDIO_SUFFIXES), elem_id="upload"
        )
        self.recorder = gr.Audio(
            sources="microphone", type="filepath", label="or record one", editable=False, elem_id="record"
        )

        self.own_label = gr.Textbox(
            label="Add a label of your own",
            info="Such as sarcastic: once it is used, the answers choose among the labels in use.",
            max_lines=1,
            submit_btn="Add",
            elem_id="own-label",
        )
        shown, changes = [self.session, self.keys, self.labels], [self.keys.change, self.labels.change]

        @gr.render(inputs=shown, triggers=changes, **ALONE)
        def rows(session: Session, keys: tuple[str, ...], labels: tuple[str, ...]) -> None:
            for key in keys:
                if key in session.examples:
                    self._row(key, session.examples[key], session)

    def _row(self, key: str, example: Example, session: Session) -> None:
        with gr.Group(key=key):
            gr.HTML(_player(key, example), elem_classes="example", padding=True, key=f"{key} player")
            emotions = gr.CheckboxGroup(
                choices=list(session.choices),
                value=list(example.emotions),
                label=f"What you hear in {key}",
                key=f"{key} emotions",
            )
            remove = gr.Button(f"Remove {key}", size="sm", key=f"{key} remove")
        emotions.input(
            lambda session, words: self._labeled(session, key, words),
            [self.session, emotions],
            [self.answer, self.message],
            trigger_mode="always_last",  # a click while a model is enrolled counts too
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

    def _profiles(self, models: Mapping[str, Recognizer]) -> None:
        gr.HTML("<h2>Profiles</h2>")
        self.save_buttons = {name: gr.Button(f"Download the profile for {name}") for name in models}
        self.download = gr.DownloadButton(visible="hidden", elem_id="download")
        self.load = gr.UploadButton("Load a profile", elem_id="load")

    def _connect_events(self) -> None:
        """Say what happens on events outside the rows of the examples."""
        self.blocks.load(self._opened, self.session, self.session, **QUIETLY)
        self.blocks.unload(self._closed)
        changed, keep_every = [self.keys, self.message], {"trigger_mode": "multiple", **QUIETLY}
        self.upload.upload(self._uploaded, [self.session, self.upload], [*changed, self.upload], **keep_every)
        self.recorder.stop_recording(
            self._recorded, [self.session, self.recorder], [*changed, self.recorder], **keep_every
        )
        self.own_label.submit(
            self._label_added,
            [self.session, self.own_label],
            [self.labels, self.message, self.own_label],
            **QUIETLY,
        )
        self.clip.change(self._chosen, [self.session, self.clip], [self.answer, self.message], **QUIETLY)
        self.load.upload(self._loaded, [self.session, self.load], [self.answer, self.message], **QUIETLY)
        for name, button in self.save_buttons.items():
            saved = button.click(
                lambda session, name=name: self._saved(session, name),
                self.session,
                [self.download, self.message],
                **QUIETLY,
            )
            saved.then(None, js=PRESS_DOWNLOAD)

    def _opened(self, session: Session) -> Session:
        """Return the session as an event's result: only then does gradio delete it, with `Session.close`."""
        return session

    def _closed(self, request: gr.Request) -> None:
        """Delete the session now: gradio would wait for an hour, and keep what it has rendered."""
        holder = self.blocks.state_holder
        holder.delete_state(request.session_hash)
        holder.session_data.pop(request.session_hash, None)

    def _uploaded(self, session: Session, paths: list[str] | None) -> Changes:
        return self._added(session, paths or []) | {self.upload: None}

    def _recorded(self, session: Session, path: str | None) -> Changes:
        return self._added(session, [path] if path else []) | {self.recorder: None}

    def _added(self, session: Session, paths: list[str]) -> Changes:
        """Add files as examples; those that cannot be used are named, and do not affect the others."""
        problems = []
        for path in map(Path, paths):
            try:
                session.add(path)
            except UserError as error:
                problems.append(str(error))
        return {self.keys: tuple(session.examples), self.message: alert(problems)}

    def _label_added(self, session: Session, text: str) -> Changes:
        try:
            session.add_label(text)
        except UserError as error:
            return {self.message: alert([str(error)])}
        return {self.labels: session.own_labels, self.message: "", self.own_label: ""}

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
        message = f"{name} answers by the profile {Path(path).name} until an example changes"
        return self._answered(session) | {self.message: notice(message)}

    def _answered(self, session: Session) -> Changes:
        return {self.answer: bars(session.replies(), session.emotions), self.message: ""}


def _player(key: str, example: Example) -> str:
    """Return an audio player for the example, with its samples in the page itself instead of a file."""
    file = BytesIO()
    soundfile.write(file, example.waveform.numpy(), SAMPLE_RATE, format="FLAC")
    source = f"data:audio/flac;base64,{b64encode(file.getvalue()).decode()}"
    title = escape(f"{key}: {example.name}")
    return f'<h3>{title}</h3><audio controls src="{source}" aria-label="{title}"></audio>'
