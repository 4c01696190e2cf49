"""Make a small corpus of every kind in its published layout, as file contents by name, to be corrupted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

Files = dict[str, bytes]


def recording(pitch: float = 300.0) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, 0.3 * np.sin(2 * np.pi * pitch * np.arange(2400) / 16_000), 16_000, format="WAV")
    return stream.getvalue()


def _named(names: list[str]) -> Files:
    return {name: recording(200 + 40 * number) for number, name in enumerate(names)}


def manifest_csv() -> Files:
    rows = ["path,speaker,listener,emotions,text"]
    rows += [
        f'{number}.wav,s{number % 2},l{listener},{"happy;sad" if listener else "sad"},"Yes, well."'
        for number in range(3)
        for listener in range(2)
    ]
    return _named(["0.wav", "1.wav", "2.wav"]) | {"manifest.csv": "\n".join(rows).encode()}


def manifest_jsonl() -> Files:
    row = '{{"path": "{}.wav", "speaker": "é", "listener": "l{}", "emotions": ["happy", "sad"]}}'
    rows = [row.format(number, listener) for number in range(3) for listener in range(2)]
    return _named(["0.wav", "1.wav", "2.wav"]) | {"manifest.jsonl": "\n".join(rows).encode()}


def iemocap() -> Files:
    files: Files = {}
    for session in (1, 2):
        dialog = f"Ses0{session}F_impro01"
        names = [f"{dialog}_{who}00{turn}" for turn in range(2) for who in "FM"]
        folder = f"Session{session}"
        files |= _named([f"{folder}/sentences/wav/{dialog}/{name}.wav" for name in names])
        blocks = [
            f"[{second}.2901 - {second}.9357]\t{name}\tneu\t[2.5000, 2.5000, 2.5000]\n"
            "C-E2:\tNeutral;\t()\nC-E3:\tNeutral; Anger;\t(a (bit) hoarse)\nC-F1:\tOther;\t()\n"
            "A-E3:\tval 3; act 2; dom  2;\t()\n"
            for second, name in enumerate(names)
        ]
        texts = [f"{name} [006.2901-008.2357]: Excuse me.\n" for name in names]
        files[f"{folder}/dialog/EmoEvaluation/{dialog}.txt"] = "\n".join(["% head", *blocks]).encode()
        files[f"{folder}/dialog/transcriptions/{dialog}.txt"] = "".join(texts).encode()
    return files


def cremad() -> Files:
    clips = ["1001_DFA_ANG_XX", "1002_ITH_NEU_XX", "1003_TSI_SAD_XX"]
    rows = [
        f"{number},SSI_{number},33,1,{clip},{letter},18,A"
        for number, (clip, letter) in enumerate(zip(clips, "ANS", strict=True))
    ]
    return _named([f"AudioWAV/{clip}.wav" for clip in clips]) | {
        "finishedResponses.csv": "\n".join(
            [",localid,pos,queryType,clipName,respEmo,respLevel,dispEmo", *rows]
        ).encode()
    }


def cremad_votes() -> Files:
    files = {name: content for name, content in cremad().items() if name.endswith(".wav")}
    rows = ['"","A","D","F","H","N","S","fileName"']
    rows += [f'"{100_000 + row}",{row},1,0,2,0,5,"{Path(name).stem}"' for row, name in enumerate(files)]
    return files | {"processedResults/tabulatedVotes.csv": "\n".join(rows).encode()}


def msp_podcast() -> Files:
    clips = ["MSP-PODCAST_0001_0008", "MSP-PODCAST_0001_0019"]
    files = _named([f"Audios/{clip}.wav" for clip in clips])
    files["Labels/labels_consensus.csv"] = "\n".join(
        ["FileName,EmoClass,SpkrID,Split_Set", *(f"{clip}.wav,H,12,Train" for clip in clips)]
    ).encode()
    files["Labels/labels_detailed.csv"] = "\n".join(
        [
            "FileName,EmoDetail",
            *(f'{clip}.wav,"WORKER1; Happy; Happy,Amused; A:5.0; V:6.0; D:4.0;"' for clip in clips),
        ]
    ).encode()
    return files | {f"Transcripts/{clips[0]}.txt": b"What a surprise."}


def dusha() -> Files:
    columns = "hash_id\taudio_path\tannotator_emo\tspeaker_text\tspeaker_emo\tsource_id\tannotator_id"
    rows = [
        f'{clip}\twavs/{clip}.wav\tsad\t„Ёлки" "\tsad\ts1\tw{worker}'
        for clip in ("a", "b")
        for worker in (1, 2)
    ]
    return _named(["crowd_train/wavs/a.wav", "crowd_train/wavs/b.wav"]) | {
        "crowd_train/raw_crowd_train.tsv": "\n".join([columns, *rows]).encode()
    }


def emotale() -> Files:
    rows = ["file,a1_A,a1_cat,a2_cat,gt_emotion", "DK_001_A_1.wav,4.0,A,N,A", "EN_001_H_5.wav,4.0,H,H,H"]
    return _named(["audio/DK_001_A_1.wav", "audio/EN_001_H_5.wav"]) | {
        "annotations.csv": "\n".join(rows).encode()
    }


def esd() -> Files:
    return _named(["0001/Angry/0001_000351.wav", "0011/Sad/test/0011_001051.wav"]) | {
        "0001/0001.txt": "0001_000351\t打远一看\t生气\n".encode("gb18030"),
        "0011/0011.txt": "0011_001051\tThe café.\tSad\n".encode("utf-16"),
    }


def nemo() -> Files:
    rows = [
        "file_id\temotion\traw_text\tspeaker_id",
        'A_anger_1.wav\tanger\t"Ród\tA',
        "A_fear_1.wav\tfear\tLubię\tA",
    ]
    return _named(["samples/A_anger_1.wav", "samples/A_fear_1.wav"]) | {"data.tsv": "\n".join(rows).encode()}


def ravdess() -> Files:
    return _named(["Actor_01/03-01-05-02-02-01-01.wav", "Actor_02/03-01-01-01-01-01-02.wav"])


def emodb() -> Files:
    return _named(["wav/03a01Fa.wav", "wav/08b02Wb.wav"])


CORPORA = {
    "manifest (CSV)": ("manifest", manifest_csv, {}),
    "manifest (JSONL)": ("manifest", manifest_jsonl, {}),
    "iemocap": ("iemocap", iemocap, {}),
    "cremad": ("cremad", cremad, {}),
    "cremad (votes)": ("cremad", cremad_votes, {"listeners": "simulated:2"}),
    "msp-podcast": ("msp-podcast", msp_podcast, {}),
    "dusha": ("dusha", dusha, {}),
    "emotale": ("emotale", emotale, {}),
    "esd": ("esd", esd, {}),
    "nemo": ("nemo", nemo, {}),
    "ravdess": ("ravdess", ravdess, {}),
    "emodb": ("emodb", emodb, {}),
}
"""By kind: the corpus's name, a function that makes its files, and options of `perser prepare`."""


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
