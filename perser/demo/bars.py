"""Render the models' replies as HTML: a table for each model with two bars for each emotion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from perser.demo.session import Reply
from perser.demo.words import changes, summary
from perser.inference.prediction import Classification, Prediction
from perser.labels import Emotions

NOTHING_CHOSEN = "<p>Ask about a clip to see the answer.</p>"

LEGEND = (
    "✓ marks what the answer names: whatever is likelier than by chance. The confidence is 100% where the "
    "model is certain, and 0% where all labels are alike to it."
)


def bars(replies: Sequence[Reply], emotions: Emotions, about: str = "") -> str:
    """Return all replies about a clip of this name, side by side where there is room, with the emotions in
    this order.

    An answer over labels of the person's own has these instead.
    """
    if not replies:
        return NOTHING_CHOSEN
    heading = f'<p class="about">About <strong>{escape(about)}</strong></p>' if about else ""
    return f'{heading}<div class="replies">{"".join(_reply(reply, emotions) for reply in replies)}</div>'


def alert(messages: Sequence[str]) -> str:
    """Return error messages, one a line, that a screen reader announces at once; an empty text for none."""
    lines = "".join(f"<p>{escape(_as_sentence(message))}</p>" for message in messages)
    return f'<div class="problem" role="alert">{lines}</div>' if lines else ""


def notice(message: str) -> str:
    """Return a message about something that went well."""
    return f'<div class="notice" role="status"><p>{escape(message)}</p></div>'


def _as_sentence(message: str) -> str:
    """Return a message with a capital first letter, unless it begins with the name of a file or a label."""
    begins_with_a_word = message.partition(" ")[0].isalpha()
    return message[:1].upper() + message[1:] if begins_with_a_word else message


def _reply(reply: Reply, emotions: Emotions) -> str:
    body = alert([reply.problem] if reply.problem else [])
    if reply.prediction is not None:
        answered = tuple(reply.prediction.probabilities)
        rows = emotions if set(answered) == set(emotions) else answered
        body += f"<p>{escape(summary(reply.prediction))}</p>"
        changed = changes(reply.before, reply.prediction.probabilities)
        body += f'<p class="changed" role="status">{escape(changed)}</p>' if changed else ""
        body += _table(_columns(reply.prediction, reply.enrolled), rows)
        body += f'<p class="about">{LEGEND}</p>'
    name = escape(reply.model)
    return f'<section class="reply" data-model="{name}"><h3>{name}</h3>{body}</section>'


def _columns(prediction: Prediction, enrolled: int) -> dict[str, Classification]:
    """Return the answers by heading: with and without the examples, or the only one where there are none."""
    if prediction.unadapted is None:
        return {"without examples": prediction}
    return {f"with {enrolled} example{'s' * (enrolled > 1)}": prediction, "without": prediction.unadapted}


def _table(columns: Mapping[str, Classification], emotions: Emotions) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(emotion)}</th>{_cells(columns.values(), emotion)}</tr>'
        for emotion in emotions
    )
    sure = "".join(f"<td>{answer.confidence:.0%}</td>" for answer in columns.values())
    return (
        f'<table class="bars"><thead><tr><th scope="col">emotion</th>{heads}</tr></thead>'
        f'<tbody>{rows}</tbody><tfoot><tr><th scope="row">confidence</th>{sure}</tr></tfoot></table>'
    )


def _cells(answers: Iterable[Classification], emotion: str) -> str:
    return "".join(_cell(answer.probabilities[emotion], emotion in answer.labels) for answer in answers)


def _cell(probability: float, is_label: bool) -> str:
    """Return a bar with its percentage; an emotion among the labels is marked by more than a color."""
    marked = ' class="label"' if is_label else ""
    return (
        f'<td{marked} data-probability="{probability:.6f}"><span class="track" aria-hidden="true">'
        f'<span class="bar" style="width:{probability:.1%}"></span></span>'
        f'<span class="figure">{probability:.0%}{" ✓" if is_label else ""}</span></td>'
    )
