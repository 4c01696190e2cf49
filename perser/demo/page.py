"""The page's layout and its events; its state is in a `Session`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import soundfile
from torch import Tensor

from perser.audio import AUDIO_SUFFIXES, SAMPLE_RATE
from perser.demo.bars import alert, bars, notice
from perser.demo.session import Example, Session
from perser.demo.simulated_clips import SimulatedClip, simulated_clips
from perser.errors import UserError
from perser.inference.recognizer import Recognizer
from perser.web.limits import Limits

TITLE = "Emotions as you hear them"

INTRODUCTION = """<h1>Emotions as you hear them</h1>
<p>People hear different emotions in the same voice. Say what you hear in a few clips, and the answers become
more like yours. Nothing leaves this machine, and everything is deleted when you close the page.</p>"""

SIMULATED = """<h2>Try it without a recording</h2>
<p>These three clips are simulated speech: a computer voice spoke them when this page was started. Ask about
one, or add it to your examples.</p>"""

NOT_SIMULATED = """<h2>Try it</h2><p>There are no clips to begin with: {problem}</p>"""

EXAMPLES = """<h2>Your examples</h2>
<p>Add clips, and tick what you hear in each. A clip can be up to {seconds:g} s long and {megabytes} MB large,
and there can be up to {examples} examples.</p>"""

CONSENT = """<p>The answers do not show what anybody feels: use them only with the consent of the person
who speaks, and never as evidence.</p>"""

Changes = dict[Any, Any]
"""New values by component."""

CLEAN_UP_SECONDS, MAX_AGE_SECONDS = 60, 300
"""How often gradio looks for old files, and the age at which it deletes one; all were read long before."""

ALONE: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": 1}
"""One event at a time on all pages together: the answers of a page appear in the order of its events."""

QUIETLY: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", **ALONE}

PRESS_DOWNLOAD = "() => document.querySelector('#download').click()"

PLAY = "() => {{ const clip = document.getElementById('{0}'); clip.currentTime = 0; clip.play(); }}"
"""Plays the audio element of that id. A button is one stop for the Tab key, where a player is five."""


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
            clips, problem = _clips()
            session = Session(models, limits, folder, clips)
            self.session = gr.State(session, delete_callback=Session.close)
            self.keys = gr.State(())  # keys of the examples that are shown
            self.labels = gr.State(())  # labels of the person's own that are shown
            gr.HTML(INTRODUCTION)
            self.message = gr.HTML(elem_id="message")
            with gr.Row():
                with gr.Column():
                    self._simulated(clips, problem)
                    self._trial()
                with gr.Column():
                    self._examples(limits)
                    self._profiles(models)
            gr.HTML(CONSENT)
            self._connect_events()

    def _simulated(self, clips: Sequence[SimulatedClip], problem: str) -> None:
        """Lay out the clips that can be tried at once, or why there are none."""
        gr.HTML(SIMULATED if clips else NOT_SIMULATED.format(problem=escape(problem)))
        self.ask_buttons, self.take_buttons = {}, {}
        for place, clip in enumerate(clips):
            played = f"simulated-{place}"
            with gr.Group(elem_classes="simulated"):
                gr.HTML(
                    f'<h3>{escape(clip.name)}: {escape(clip.text)}</h3><audio id="{played}" '
                    f'src="{_data_uri(clip.waveform)}"></audio>',
                    elem_classes="example",
                    padding=True,
                )
                with gr.Row():
                    listen = gr.Button(f"Listen to {clip.name}", size="sm", min_width=90)
                    self.ask_buttons[clip.name] = gr.Button(f"Ask about {clip.name}", size="sm", min_width=90)
                    self.take_buttons[clip.name] = gr.Button(
                        f"Add {clip.name} to my examples", size="sm", min_width=90
                    )
            listen.click(None, js=PLAY.format(played), api_visibility="private")

    def _examples(self, limits: Limits) -> None:
        gr.HTML(EXAMPLES.format(**vars(limits)))
        self.upload = gr.UploadButton(
            "Upload clips", file_count="multiple", file_types=sorted(AUDIO_SUFFIXES), elem_id="upload"
        )
        self.recorder = gr.Audio(
            sources="microphone", type="filepath", label="or record one", editable=False, elem_id="record"
        )

        self.own_label = gr.Textbox(
            label="Add a label of your own",
            info="Such as sarcastic. Tick it for some examples: the answers then choose among the labels "
            "that you have ticked.",
            max_lines=1,
            submit_btn="Add",
            elem_id="own-label",
        )
        self.ask_next = gr.Button("Which clip should I label next?", size="sm")
        self.next = gr.HTML(elem_id="next")
        shown, changes = [self.session, self.keys, self.labels], [self.keys.change, self.labels.change]

        @gr.render(inputs=shown, triggers=changes, **ALONE)
        def rows(session: Session, keys: tuple[str, ...], labels: tuple[str, ...]) -> None:
            for key in keys:
                if key in session.examples:
                    self._row(key, session.examples[key], session)

    def _row(self, key: str, example: Example, session: Session) -> None:
        with gr.Group(key=key):
            gr.HTML(
                _player(f"{key}: {example.name}", example.waveform),
                elem_classes="example",
                padding=True,
                key=f"{key} player",
            )
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
            [self.answer, self.message, self.next],
            trigger_mode="always_last",  # a click while a model is enrolled counts too
            **QUIETLY,
        )
        remove.click(
            lambda session: self._removed(session, key),
            self.session,
            [self.keys, self.answer, self.message, self.next],
            **QUIETLY,
        )

    def _trial(self) -> None:
        gr.HTML("<h2>Try a clip of yours</h2>")
        self.clip = gr.Audio(type="filepath", label="A new clip", editable=False, buttons=[], elem_id="clip")
        gr.HTML("<h2>The answer</h2>")
        self.answer = gr.HTML(bars([], ()), elem_id="answer")

    def _profiles(self, models: Mapping[str, Recognizer]) -> None:
        gr.HTML(
            "<h2>Profiles</h2><p>A profile keeps what a model has learned of you. Load it on this page "
            "another day, or use it with perser predict.</p>"
        )
        self.save_buttons = {name: gr.Button(f"Download the profile for {name}") for name in models}
        self.download = gr.DownloadButton(visible="hidden", elem_id="download")
        self.load = gr.UploadButton("Load a profile", elem_id="load")

    def _connect_events(self) -> None:
        """Say what happens on events outside the rows of the examples."""
        self.blocks.load(self._opened, self.session, self.session, **QUIETLY)
        self.blocks.unload(self._closed)
        changed = [self.keys, self.message]
        keep_every: dict[str, Any] = {"trigger_mode": "multiple", **QUIETLY}
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
        self.clip.change(
            self._chosen, [self.session, self.clip], [self.answer, self.message, self.next], **QUIETLY
        )
        self.load.upload(
            self._loaded, [self.session, self.load], [self.answer, self.message, self.next], **QUIETLY
        )
        self.ask_next.click(self._next_to_label, self.session, self.next, **QUIETLY)
        for name, button in self.ask_buttons.items():
            button.click(
                lambda session, name=name: self._asked(session, name),
                self.session,
                [self.answer, self.message, self.next],
                **QUIETLY,
            )
        for name, button in self.take_buttons.items():
            button.click(
                lambda session, name=name: self._taken(session, name), self.session, changed, **keep_every
            )
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

    def _taken(self, session: Session, name: str) -> Changes:
        """Add a simulated clip as an example."""
        try:
            session.add_simulated(name)
        except UserError as error:
            return {self.message: alert([str(error)])}
        return {self.keys: tuple(session.examples), self.message: ""}

    def _asked(self, session: Session, name: str) -> Changes:
        """Answer about a simulated clip."""
        session.choose_simulated(name)
        return self._answered(session)

    def _next_to_label(self, session: Session) -> str:
        try:
            key = session.label_next()
        except UserError as error:
            return alert([str(error)])
        return notice(
            f"Label {key} next: the answers about clips like it are unsure. On simulated listeners, such a "
            "choice was not clearly better than any other."
        )

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
        answer = bars(session.replies(), session.emotions, session.clip_name)
        return {self.answer: answer, self.message: "", self.next: ""}


def _clips() -> tuple[list[SimulatedClip], str]:
    """Return the clips with which the page begins, or why there are none."""
    try:
        return simulated_clips(), ""
    except UserError as error:
        return [], str(error)


def _player(title: str, waveform: Tensor) -> str:
    """Return an audio player under a heading."""
    title = escape(title)
    return f'<h3>{title}</h3><audio controls src="{_data_uri(waveform)}" aria-label="{title}"></audio>'


def _data_uri(waveform: Tensor) -> str:
    """Return an address that holds the samples itself: the page needs no file for them."""
    file = BytesIO()
    soundfile.write(file, waveform.numpy(), SAMPLE_RATE, format="FLAC")
    return f"data:audio/flac;base64,{b64encode(file.getvalue()).decode()}"
