"""Options of `perser icl-train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from perser.training.options import Criterion, OptimizationOptions, check_at_least

Loss = Literal["every", "query"]
Optimizer = Literal["adamw", "adamw8bit"]
LabelWords = Literal["own", "drawn"]
Standardize = Literal["together", "each"]

SHARES = (
    *("permute_labels", "permute_labels_end"),
    *("label_subsets", "balanced_starts", "merged_labels", "other_answers", "drawn_styles"),
)
"""Options that are shares of the sequences."""


@dataclass(frozen=True)
class IclOptions(OptimizationOptions):
    """How a speech language model is meta-trained.

    Args:
        pairs: enrollment pairs of a training sequence (N of its N + 1 clips).
        uniform_pairs: whether every sequence's number of pairs is drawn uniformly from 0 to `pairs`.
        restricted: share of the sequences whose enrollment has only some of the person's emotions.
        missing: share of the sequences whose enrollment has none of the last clip's emotions.
        permute_labels: share of the sequences, at the start of training, whose words do not have their own
            meaning, so that only the pairs say what a word means.
        permute_labels_end: the same share at the end of training. It stays as it was for the first half, in
            which the model learns to read the pairs, and then changes evenly. none: it stays.
        label_words: which words the sequences of permute_labels use: own, the emotions' own words, swapped at
            random; or drawn, English nouns and own words, drawn anew for every sequence. With drawn, a
            quarter of the sequences have the own words, swapped.
        label_subsets: share of the sequences that have only 2 or more of the emotions.
        most_labels: most emotions of a sequence; where a person has more, some are drawn for each sequence;
            none: any number.
        balanced_starts: share of the sequences that begin with 1 to 5 clips of each emotion, in random order,
            as people do who are asked for some clips of each.
        merged_labels: share of the sequences of permute_labels in which several emotions have one word.
        other_answers: share of the sequences of permute_labels in which some emotions have no word: their
            answer is prompt.other.
        drawn_styles: share of the sequences whose labels come from a simulated person, with a bias and a
            sharpness that are drawn for this sequence alone.
        standardize: by which clips features are standardized. together: by all training clips; each: by those
            of their own corpus, where several were joined (`perser join`).
        first_answers: clips that each step asks for, besides its sequences, with no pair before them and
            under the emotions' own words. A sequence has one such answer only, so a model that reads pairs
            may know little without any.
        loss: every: on the answer to every clip, each predicted from all pairs before it; query: on the
            answer to the last clip alone.
        projector_steps: steps of a first stage, in which the projector alone learns to tell the training
            persons' emotions apart, with a classifier's head that is then thrown away; 0: no such stage.
        projector_learning_rate: learning rate of that stage.
        projector_mixup: how strongly clips are mixed in that stage, so that the projector learns what clips
            of an emotion share and does not know each clip by heart: the parameter a of Beta(a, a), from
            which the share of one of two clips and of its labels is drawn (mixup, Zhang et al. 2018); 0: not
            at all.
        matched: whether the trained model also matches clips with the enrolled ones by all of the encoder's
            features, beside reading the pairs (`speechlm_icl.scoring.matching`); no part of the training. A
            method's name turns it on for any model: speech-lm-8+matched.
        opinion_pool: whether the trained model's answers after pairs are pooled with its answers without any
            (`speechlm_icl.scoring.opinion_pool`), as much as answers the validation persons best; for a model
            that learned from the pairs what words mean, and reads too much into few of them.
        gradient_accumulation_steps: parts into which a step's sequences are split, by length, to save memory.
        language_learning_rate: learning rate of all but the projector: the language model's own weights (its
            adapter, or all of tiny-llama) and what binds pairs; none: the same as the projector's.
        optimizer: adamw, or adamw8bit, which keeps its two moments in 8 bits, through bitsandbytes.
        weight_decay: weight decay of AdamW.
        gradient_checkpointing: whether the language model's layers are computed again in the backward pass:
            less memory, a third more time.
        validation_sequences: sequences of validation persons whose loss is logged, the same ones each time.
            The step is chosen on the validation episodes, and under swapped words on these.
        selection: what chooses the best step: log_loss; or maF1, macro-F1 at p > 1/C on the validation
            episodes alone.
        mixed_precision: precision of the matrix products.
        seed: seed of the weights, the sequences and the noise.
    """

    pairs: int = 32
    uniform_pairs: bool = False
    restricted: float = 0.0
    missing: float = 0.0
    permute_labels: float = 0.0
    permute_labels_end: float | None = None
    label_words: LabelWords = "drawn"
    label_subsets: float = 0.0
    most_labels: int | None = None
    balanced_starts: float = 0.0
    merged_labels: float = 0.0
    other_answers: float = 0.0
    drawn_styles: float = 0.0
    standardize: Standardize = "together"
    first_answers: int = 0
    loss: Loss = "every"
    projector_steps: int = 300
    projector_learning_rate: float = 1e-3
    projector_mixup: float = 1.0
    matched: bool = False
    opinion_pool: bool = False
    gradient_accumulation_steps: int = 1
    language_learning_rate: float | None = None
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    gradient_checkpointing: bool = False
    validation_sequences: int = 64
    selection: Criterion = "log_loss"
    mixed_precision: Literal["no", "bf16"] = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gradient_accumulation_steps", "validation_sequences"):
            check_at_least(name, getattr(self, name), 1)
        for name in ("pairs", "first_answers", "projector_steps", "projector_mixup", "restricted", "missing"):
            check_at_least(name, getattr(self, name), 0)
        for name in SHARES:
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name}: {share}, give a share from 0 to 1")
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size: {self.batch_size}, give a multiple of gradient_accumulation_steps "
                f"({self.gradient_accumulation_steps})"
            )
        if self.restricted + self.missing > 1:
            raise ValueError(
                f"restricted and missing: {self.restricted} and {self.missing}, their sum may be at most 1"
            )
        if self.most_labels is not None:
            check_at_least("most_labels", self.most_labels, 2)
        chosen = {
            "loss": Loss,
            "standardize": Standardize,
            "optimizer": Optimizer,
            "label_words": LabelWords,
            "selection": Criterion,
        }
        for name, choices in ((name, get_args(kind)) for name, kind in chosen.items()):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: {getattr(self, name)}, give one of {', '.join(choices)}")
        if self.opinion_pool and not self.trains_own_words:
            raise ValueError(
                "opinion_pool: true pools answers under the emotions' own words, with which no sequence is "
                "trained: give false, or permute_labels below 1"
            )
        if self.selection == "maF1" and not self.trains_own_words:
            raise ValueError(
                "selection: maF1 is measured under the emotions' own words, with which no sequence is trained"
                ": give log_loss, or permute_labels below 1"
            )

    @property
    def permutes(self) -> bool:
        """Whether some sequences have words without their own meaning."""
        return max(self.permute_labels, self.permute_labels_end or 0) > 0

    def permuted_share(self, step: int) -> float:
        """Return the share of such sequences at a step, counted from 1."""
        changed = max(0.0, 2 * step / self.steps - 1)
        return self.permute_labels + changed * (self._permuted_at_end - self.permute_labels)

    @property
    def trains_own_words(self) -> bool:
        """Whether some sequences have the emotions' own words with their own meaning."""
        return min(self.permute_labels, self._permuted_at_end) < 1 or self.first_answers > 0

    @property
    def _permuted_at_end(self) -> float:
        return self.permute_labels if self.permute_labels_end is None else self.permute_labels_end
