"""A causal language model that predicts clicks: one forward pass of a row gives one logit per probe."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dti.attention.plugin import Backend, attach, reading_of
from dti.attention.visibility import Sight, view_of
from dti.prompts.row import Row
from dti.prompts.store import TokenIds


class CtrModel(nn.Module):
    """A backbone with this project's attention and a two-row head.

    Args:
        backbone: a stock Hugging Face causal language model, or one wrapped by peft.
        tokens: ids of the answers and of the probe.
        sight: how it reads.
        backend: which attention code runs.
    """

    def __init__(self, backbone: Any, tokens: TokenIds, sight: Sight, backend: Backend) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokens, self.sight, self.backend = tokens, sight, backend
        self.rope = attach(self.stock)

    @property
    def stock(self) -> PreTrainedModel:
        """The Hugging Face model itself, without peft's wrapper (LoRA layers stand inside it)."""
        return self.backbone.get_base_model() if hasattr(self.backbone, "get_base_model") else self.backbone

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, row: Row) -> Tensor:
        """The logit of a click for each probe of the row, (K,), float32.

        It is the difference of two rows of the language-model head, yes - no, so that its sigmoid is the softmax over
        the two; the other rows of the head are never computed.
        """
        content = torch.from_numpy(row.tokens_S)
        probes = torch.full((row.target_K.size,), self.tokens.sum)
        tokens_1T = torch.cat([content, probes])[None].to(self.device)
        decoder, config = self.stock.get_decoder(), self.stock.config
        embedded = decoder.get_input_embeddings()(tokens_1T)
        view = view_of(row, self.sight)
        reading = reading_of(view, self.rope, self.backend, config.num_attention_heads, embedded)
        hidden = decoder(inputs_embeds=embedded, reading=reading, use_cache=False).last_hidden_state
        return self._logits(hidden[0, content.numel() :])

    def _logits(self, hidden_KD: Tensor) -> Tensor:
        head = self.stock.get_output_embeddings().weight
        answer_D = (head[self.tokens.yes] - head[self.tokens.no]).float()
        return (hidden_KD.float() * answer_D).sum(-1)  # no matrix product: autocast would round it to bf16
