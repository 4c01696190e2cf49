"""Options in the names of version 0.1.0 are today's options, and the other way round."""

from __future__ import annotations

import pytest

from perser.training.earlier_versions import downgrade_options, upgrade_options, upgrade_training

OPTIONS = {
    "pretrain": (
        {"epochs": 3, "batch_size": 4},
        {
            "epochs": 3,
            "batch_size": 4,
            "steps": None,
            "warmup": 0.1,
            "clip_norm": 1.0,
            "validate_every": None,
            "head_learning_rate": None,
            "selection": "maF1",
            "standardize": True,
            "dropout": 0.0,
            "mask_time": 0.0,
        },
    ),
    "meta-train": (
        {"inner": {"steps": 5}, "outer": {"iterations": 7, "persons": 2}},
        {
            "inner": {"steps": 5, "moves": "scope", "solver": "steps"},
            "outer": {
                "steps": 7,
                "batch_size": 2,
                "warmup": 0.1,
                "head_learning_rate": 1e-3,
                "update": "maml",
                "strengths_learning_rate": 0.1,
                "f1_weight": 0.0,
            },
            "fresh_head": False,
            "selection": "maF1",
        },
    ),
    "icl-train": (
        {"sequences_per_step": 8, "accumulate": 2, "align_steps": 0, "align_learning_rate": 0.1, "steps": 9},
        {
            "batch_size": 8,
            "gradient_accumulation_steps": 2,
            "projector_steps": 0,
            "projector_learning_rate": 0.1,
            "steps": 9,
            "permute_labels_end": None,
            "label_words": "own",
            "label_subsets": 0.0,
            "balanced_starts": 0.0,
            "projector_mixup": 0.0,
            "merged_labels": 0.0,
            "other_answers": 0.0,
            "drawn_styles": 0.0,
            "first_answers": 0,
            "standardize": "together",
            "matched": False,
            "opinion_pool": False,
            "selection": "log_loss",
        },
    ),
}


@pytest.mark.parametrize("command", OPTIONS)
def test_options_of_version_0_1_0_are_upgraded_and_downgraded(command):
    earlier, today = OPTIONS[command]
    assert upgrade_options(command, earlier) == today
    assert downgrade_options(command, today) == earlier


def test_options_that_version_0_1_0_did_not_have_are_kept_where_they_are_not_its_default():
    assert downgrade_options("meta-train", {"outer": {"warmup": 0.5}}) == {"outer": {"warmup": 0.5}}


def test_a_run_of_version_0_1_0_is_the_same_training_whatever_the_version_of_transformers():
    earlier, today = OPTIONS["icl-train"]
    training = {
        "command": "icl-train",
        "options": earlier,
        "model": {"width": 8, "transformers_version": "4"},
    }
    assert upgrade_training(training) == {
        "command": "icl-train",
        "options": today,
        "model": {"width": 8},
    }


def test_prompts_of_version_0_1_0_bind_nothing():
    model = {"prompt": {"chat": False}}
    upgraded = upgrade_training({"command": "icl-train", "options": {}, "model": model})
    assert upgraded["model"]["prompt"] == {"chat": False, "bind": False, "other": "other"}
    assert downgrade_options("icl-train", upgraded["model"]) == model
    assert downgrade_options("icl-train", {"prompt": {"bind": True}}) == {"prompt": {"bind": True}}


def test_a_run_with_the_removed_memory_option_goes_on_with_adjoint():
    upgraded = upgrade_options("meta-train", {"inner": {"memory": "checkpoint", "steps": 2}})
    assert upgraded["inner"] == {"memory": "adjoint", "steps": 2, "moves": "scope", "solver": "steps"}
