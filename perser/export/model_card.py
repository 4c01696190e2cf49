"""Write the model card of an exported model: what it is, how to use it, how it was measured, and its
limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from perser.export.run_record import RunRecord
from perser.io.hub import is_hub_name
from perser.io.model_facts import ModelFacts
from perser.route import Exported

TEMPLATE = "model_card.md.jinja"

METRICS = {
    "log_loss": "Log loss",
    "gain": "Gain in nats",
    "gain_share": "Gain share",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "maF1": "Macro-F1",
    "maF1_tuned": "Macro-F1, tuned thresholds",
    "miF1": "Micro-F1",
    "label_accuracy": "Label accuracy",
    "balanced_accuracy": "Balanced accuracy",
}
"""The metrics of results.json that the card shows, with their headings."""

NOT_MEASURED = "not measured"


def model_card(
    facts: ModelFacts,
    exported: Exported,
    record: RunRecord,
    title: str,
    name: str | None = None,
    license: str | None = None,
    languages: tuple[str, ...] = (),
) -> str:
    """Return the text of README.md, with the YAML header that the Hub reads.

    Args:
        facts: What the exported files say.
        exported: What the model's route says.
        record: What the run that trained the model says.
        title: Title of the page.
        name: The model's name on the Hub, where that is known.
        license: License of the weights, as the Hub spells it.
        languages: Languages of the recordings, as the Hub spells them.
    """
    data = ModelCardData(
        model_name=title,
        license=license,
        language=list(languages) or None,
        library_name="perser",
        pipeline_tag=exported.task,
        tags=["speech-emotion-recognition", "personalization", "perser", facts.route],
        base_model=sorted(exported.bases) or None,
        datasets=[record.corpus["name"]] if is_hub_name(record.corpus.get("name", "")) else None,
        metrics=["f1"] if record.rows else None,
        eval_results=_eval_results(record) or None,
    )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE).render(
        header=data.to_yaml(),
        title=title,
        model=name or ".",
        facts=facts,
        exported=exported,
        record=record,
        metrics={
            name: heading
            for name, heading in METRICS.items()
            if any(name in row["metrics"] for row in record.rows)
        },
        value_text=_value_text,
        license=license,
    )


def _value_text(row: dict[str, Any], metric: str) -> str:
    """Format a metric of a row with its interval; results of version 0.1.0 lack some."""
    value = row["metrics"].get(metric)
    if value is None:
        return NOT_MEASURED
    if metric == "log_loss":
        return "{mean:.3f} ({low:.3f} to {high:.3f})".format_map(value)
    if metric == "gain":
        return "{mean:+.3f} ({low:+.3f} to {high:+.3f})".format_map(value)
    mean, low, high = (100 * value[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _eval_results(record: RunRecord) -> list[EvalResult]:
    """Return the macro-F1 of each of the model's own rows, in the form of the Hub's `model-index`."""
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="personalized speech emotion recognition",
            dataset_type=row["corpus"],
            dataset_name=f"{row['corpus']}, {row['scenario']} {row['person_axis']}",
            metric_type="f1",
            metric_name=f"macro-F1, {row['method']}, K = {row['k']}",
            metric_value=round(row["metrics"]["maF1"]["mean"], 4),
        )
        for row in record.rows
        if row["route"] != "trivial"
    ]
