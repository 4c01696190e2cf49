"""Answer with the full prompt every time, as one does with a speech LM that keeps no prefix cache."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.speed.speechlm.prompt_case import PromptCase


@torch.inference_mode()
def score_full_prompts(case: PromptCase, query: int) -> Tensor:
    """Return the log-probability of each label (C,).

    The full prompt is read once a label, with all labels of the query in one batch, and logits are computed
    at the label's tokens alone, which is cheaper than transformers' own loss.
    """
    language_model, labels = case.model.language_model, case.model.prompt.labels
    before = torch.cat([case.prefix, case.frames[query]])
    tokens = [torch.tensor(label, device=case.device) for label in labels]
    rows = [torch.cat([before, language_model.embed(label[None, :-1])[0]]) for label in tokens]
    embeddings = pad_sequence(rows, batch_first=True)
    width = embeddings.shape[1]
    lengths = torch.tensor([len(row) for row in rows], device=case.device)
    positions = torch.arange(width, device=case.device).expand(len(rows), -1)
    real = positions < lengths[:, None]
    hidden = language_model.hidden(embeddings, real.to(torch.int64), positions)
    scores = []
    for label, states in zip(tokens, hidden, strict=True):
        answer = states[len(before) - 1 : len(before) - 1 + len(label)]
        log_probabilities = language_model.logits(answer).float().log_softmax(dim=-1)
        scores.append(log_probabilities.gather(1, label[:, None]).sum())
    return torch.stack(scores).cpu()


@torch.inference_mode()
def generate(case: PromptCase, query: int) -> Tensor:
    """Write a greedy answer as long as the longest label with its end; return its first logits (V,)."""
    causal, labels = case.model.language_model.causal, case.model.prompt.labels
    embeddings = torch.cat([case.prefix, case.frames[query]])[None]
    length = max(map(len, labels)) + len(case.model.prompt.template.end)
    answer = causal.generate(
        inputs_embeds=embeddings,
        attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.int64, device=case.device),
        do_sample=False,
        min_new_tokens=length,
        max_new_tokens=length,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return answer.logits[0][0].float().cpu()
