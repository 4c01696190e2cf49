"""Write a miniature corpus in IEMOCAP's published layout, and return what a reader should find in it.

from .miniature_iemocap import write_iemocap     # any test: relative to its own folder
miniature = write_iemocap(tmp_path / "IEMOCAP_full_release")
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .tones import write_tone

PITCH = {
    "Frustration": 300.0,
    "Anger": 360.0,
    "Sadness": 120.0,
    "Disgust": 150.0,
    "Excited": 420.0,
    "Fear": 460.0,
    "Neutral": 200.0,
    "Surprise": 500.0,
    "Happiness": 390.0,
}
"""The corpus's nine words. The pitch of an utterance's tone depends on the word that was meant."""
RATE = np.array([0.243, 0.143, 0.118, 0.03, 0.136, 0.03, 0.195, 0.03, 0.075])
"""About the rates of the words in IEMOCAP, in PITCH's order."""
CODES = {"Frustration": "fru", "Anger": "ang", "Sadness": "sad", "Neutral": "neu", "Happiness": "hap"}
PANELS = (("E1", "E2", "E3"), ("E2", "E4", "E5"), ("E1", "E3", "E4"), ("E1", "E2", "E5"), ("E3", "E4", "E5"))
"""The three evaluators of a dialog. E6 labels only one dialog, which is too little for a task."""


@dataclass
class MiniatureIemocap:
    """What was written, with the corpus's own words."""

    root: Path
    responses: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """Words by utterance and listener (as perser names them), including "Other"."""
    texts: dict[str, str] = field(default_factory=dict)
    """Transcripts by utterance."""


def write_iemocap(
    root: Path, *, sessions: int = 5, dialogs: int = 2, turns: int = 6, seconds: float = 0.2, seed: int = 0
) -> MiniatureIemocap:
    """Write `sessions` x `dialogs` x `turns` utterances. The two actors of a session alternate.

    Both actors label every utterance of their session, and so do three evaluators, who change from dialog to
    dialog. Some responses have several labels, "Other" or a comment. The other files of the published corpus
    (attributes, other folders, macOS's `._*`) are there too.
    """
    miniature = MiniatureIemocap(root)
    rng = np.random.default_rng(seed)
    leaning = {f"E{number}": rng.normal(0, 1.2, len(PITCH)) for number in range(1, 7)}
    for session in range(1, sessions + 1):
        leaning |= {f"Ses{session:02d}_{actor}": rng.normal(0, 1.2, len(PITCH)) for actor in "FM"}
        for dialog in range(dialogs):
            last = session == sessions and dialog == dialogs - 1
            panel = PANELS[(session + 2 * dialog) % len(PANELS)] + (("E6",) if last else ())
            kind = f"impro{dialog // 2 + 1:02d}" if dialog % 2 == 0 else f"script{dialog // 2 + 1:02d}_1"
            name = f"Ses{session:02d}{'FM'[dialog % 2]}_{kind}"
            _write_dialog(miniature, session, name, panel, turns, seconds, leaning, rng)
        _write_clutter(root / f"Session{session}")
    return miniature


def _write_dialog(
    miniature: MiniatureIemocap,
    session: int,
    dialog: str,
    panel: tuple[str, ...],
    turns: int,
    seconds: float,
    leaning: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> None:
    folder = miniature.root / f"Session{session}"
    blocks = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"]
    transcript = []
    for turn in range(turns):
        utterance = f"{dialog}_{'FM'[turn % 2]}{turn // 2:03d}"
        meant = str(rng.choice(list(PITCH), p=RATE / RATE.sum()))
        pitch = PITCH[meant] * rng.uniform(0.97, 1.03)
        write_tone(folder / "sentences" / "wav" / dialog / f"{utterance}.wav", pitch, seconds)
        names = {code: code for code in panel} | {f"{actor}1": f"Ses{session:02d}_{actor}" for actor in "FM"}
        given = {code: _respond(meant, leaning[listener], rng) for code, listener in names.items()}
        for code, words in given.items():
            miniature.responses[utterance, names[code]] = words
        blocks.append(_block(utterance, 2.5 * turn, given))
        miniature.texts[utterance] = f"This is turn {turn}."
        transcript.append(f"{utterance} [{2.5 * turn:08.4f}-{2.5 * turn + 2:08.4f}]: This is turn {turn}.")
    _write(folder / "dialog" / "EmoEvaluation" / f"{dialog}.txt", "\n".join(blocks))
    _write(folder / "dialog" / "transcriptions" / f"{dialog}.txt", "\n".join(transcript) + "\n")


def _respond(meant: str, leaning: np.ndarray, rng: np.random.Generator) -> tuple[str, ...]:
    if rng.random() < 0.03:
        return ("Other",)
    words = np.array(list(PITCH))
    score = 2.5 * (words == meant) + leaning + rng.gumbel(size=len(words))
    first, second = words[np.argsort(-score)[:2]]
    more = rng.random()
    return (
        (str(first), str(second)) if more < 0.06 else (str(first), "Other") if more < 0.08 else (str(first),)
    )


def _block(utterance: str, start: float, given: dict[str, tuple[str, ...]]) -> str:
    (word, votes), *_ = Counter(words[0] for code, words in given.items() if code[0] == "E").most_common(1)
    head = CODES.get(word, "oth") if votes > 1 else "xxx"
    lines = [f"[{start:.4f} - {start + 2:.4f}]\t{utterance}\t{head}\t[2.5000, 2.5000, 2.5000]"]
    for code, words in given.items():
        comment = "a bit (too) calm; really" if len(words) > 1 else ""
        lines.append(f"C-{code}:\t{' '.join(f'{word};' for word in words)}\t({comment})")
    lines += [f"A-{code}:\tval 3; act 2; dom  2;\t()" for code in given]
    return "\n".join(lines) + "\n"


def _write_clutter(folder: Path) -> None:
    evaluation = folder / "dialog" / "EmoEvaluation"
    first = next(path for path in sorted(evaluation.glob("*.txt")))
    _write(evaluation / "Categorical" / f"{first.stem}_e2_cat.txt", f"{first.stem}_F000 :Neutral state; ()\n")
    _write(evaluation / "Attribute" / f"{first.stem}_e2_atr.txt", f"{first.stem}_F000 :act 2; :val 3;  ()\n")
    wav = folder / "sentences" / "wav" / first.stem
    for path in (evaluation / f"._{first.name}", wav / f"._{first.stem}_F000.wav", wav / "notes.txt"):
        path.write_bytes(b"\x00\x05\x16\x07 Mac OS X \xb0\xff")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="latin-1")
