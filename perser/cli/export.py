"""perser export --model DIR --out DIR: make a folder for the Hugging Face Hub of a trained model."""

from __future__ import annotations

import shlex
from pathlib import Path

from perser.errors import UserError


def export(
    model: str,
    out: Path,
    run: Path | None = None,
    name: str | None = None,
    license: str | None = None,
    language: str | None = None,
    push_to_hub: bool = False,
) -> None:
    """Make a folder for the Hugging Face Hub of a trained model: weights, settings and a model card.

    It can be loaded anywhere, by `perser` and by transformers' Auto classes. Upload it with --push_to_hub, or
    later with `hf upload OWNER/NAME DIR`.

    Args:
        model: a trained model of either route, such as runs/quickstart/models/speech-lm.
        out: the folder to write; one that this command wrote before is replaced.
        run: the run that trained and measured the model, for the card; none: RUN where the model is
            RUN/models/NAME.
        name: the model's future name on the Hub, owner/name, for the card.
        license: license of the weights, as the Hub spells it, such as cc-by-4.0, for the card.
        language: spoken in the recordings, such as en, or en,da, for the card.
        push_to_hub: whether to upload the folder under its name (--name), too; a new repository is private.

    Examples:
        perser export --model runs/quickstart/models/speech-lm --out runs/exported/speech-lm
    """
    from perser.export.folder import MARKER, export_folder
    from perser.io.files import check_output
    from perser.io.hub import trained_model_folder, upload_folder

    if push_to_hub and name is None:
        raise UserError("push_to_hub: give --name OWNER/NAME, the model's name on the Hugging Face Hub")
    languages = tuple(filter(None, map(str.strip, (language or "").split(","))))
    if (out / ".git").exists():
        raise UserError(
            f"out: {out} is a Git repository, which would be lost: export to another folder, then copy the "
            "files"
        )
    check_output(out, MARKER)
    folder = trained_model_folder(model)
    export_folder(folder, out, run, name=name, license=license, languages=languages)
    if push_to_hub and name is not None:
        print(f"{out}: uploaded to {upload_folder(out, name)}; read its README.md, then make it public there")
        return
    print(f"{out}: read its README.md, then `{shlex.join(['hf', 'upload', name or 'OWNER/NAME', str(out)])}`")
