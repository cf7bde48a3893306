"""A causal language model that predicts clicks: one forward pass of a row gives one logit per target."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dti.attention.plugin import BACKENDS, Backend, Reading, attach, probe_reading_of, reading_of, working_dtype
from dti.attention.reference import slopes_of
from dti.attention.rope import turn
from dti.attention.visibility import Bank, Sight, view_of
from dti.errors import DtiError
from dti.model.frozen import States
from dti.prompts.row import Layout, Row
from dti.prompts.store import TokenIds


class CtrModel(nn.Module):
    """A backbone with this project's attention and a two-row head.

    Args:
        backbone: a stock Hugging Face causal language model, or one wrapped by peft.
        tokens: ids of the answers and of the probe.
        sight: how it reads.
        backend: which attention code runs.
        layout: how its rows are to be laid out.

    Raises:
        DtiError: the backbone's family is not supported, or the backend cannot read in this way.

    Attributes:
        slopes: each layer's slopes of the bias by distance, where they are learned.
        states: the catalogue's keys and values, which ``content: frozen`` needs before the first forward pass, and
            which serving gives to other isolated models, too (training never reads those).
        checkpointed_above: in training, passes of more tokens keep each layer's input alone and compute the
            layer again in the backward pass; None: no pass does.
    """

    def __init__(
        self, backbone: Any, tokens: TokenIds, sight: Sight, backend: Backend, layout: Layout = "stream"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokens, self.sight, self.backend, self.layout = tokens, sight, backend, layout
        self.rope = attach(self.stock)
        self.states: States | None = None
        self.checkpointed_above: int | None = None
        self._switches: list[nn.Module] = []
        self.slopes = self._first_slopes() if sight.slopes == "learned" else None

    @property
    def stock(self) -> PreTrainedModel:
        """The Hugging Face model itself, without peft's wrapper (LoRA layers stand inside it)."""
        return self.backbone.get_base_model() if hasattr(self.backbone, "get_base_model") else self.backbone

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def compile_layers(self) -> None:
        """Compile what stands between the attention calls: norms, projections with LoRA, rotation, feed-forward blocks.

        Layers share the graphs, which serve all lengths. Attention stays as it is: its plan differs from row to row,
        and flex compiles itself.
        """
        for layer in self.stock.get_decoder().layers:
            for name, part in [*layer.named_children(), *layer.self_attn.named_children()]:
                if name == "mlp" or name.endswith(("layernorm", "_proj")):
                    part.compile(dynamic=True)
        self.rope.turn = torch.compile(turn, dynamic=True)

    def forward(self, row: Row) -> Tensor:
        """The logit of a click for each target of the row, (K,), float32.

        It is the difference of two rows of the language-model head, yes - no, so that its sigmoid is the softmax over
        the two; the other rows of the head are never computed.
        """
        self._checkpoint(self.training and self.computes_again(row))
        probes = torch.full((row.target_K.size * self.sight.probe_tokens,), self.tokens.sum)
        if self.sight.content == "frozen" or (self.states is not None and not self.training):
            return self._logits(self._read_states(row, probes))
        content = torch.from_numpy(row.tokens_S)
        embedded = self._embedded(torch.cat([content, probes]))
        reading = reading_of(view_of(row, self.sight), self.rope, self.backend, self._heads, embedded)
        return self._logits(self._hidden(embedded, reading))

    def tokens_of(self, row: Row) -> int:
        """How many tokens a forward pass of the row computes."""
        probes = self.sight.probe_tokens * int(row.target_K.size)
        return probes + (0 if self.sight.content == "frozen" else int(row.tokens_S.size))

    def computes_again(self, row: Row) -> bool:
        """Whether training computes the row's layers again in the backward pass."""
        return self.checkpointed_above is not None and self.tokens_of(row) > self.checkpointed_above

    def content_states(self, row: Row) -> list[Bank]:
        """Every layer's keys, as probes read them, and values of a row without probes."""
        embedded = self._embedded(torch.from_numpy(row.tokens_S))
        reading = reading_of(view_of(row, self.sight), self.rope, self.backend, self._heads, embedded)
        kept: list[Bank] = []
        self._hidden(embedded, replace(reading, kept=kept))
        return kept

    def _read_states(self, row: Row, probes: Tensor) -> Tensor:
        """The hidden states of the probes alone, which read the catalogue's states.

        Raises:
            ValueError: there are no states, or the row has no places in the catalogue.
        """
        if self.states is None or row.place_S is None:
            raise ValueError("content: frozen needs the catalogue's states and a row in the unique layout")
        embedded, view, place_S = self._embedded(probes), view_of(row, self.sight), torch.from_numpy(row.place_S)
        given = self.states.whole(working_dtype(embedded)) if BACKENDS[self.backend].gathers else None
        if given is not None:  # straight from the catalogue
            view = view.elsewhere(place_S)
        else:
            given = self.states.of(place_S)
        return self._hidden(embedded, probe_reading_of(view, self.rope, self.backend, self._heads, embedded, given))

    def _checkpoint(self, again: bool) -> None:
        """Set how the next pass keeps its activations."""
        if again and not self._switches:
            # The reentrant kind fails where a keyword, such as the initial embeddings, requires a gradient; what it
            # needs of the embeddings the other one does not.
            self.stock.activation_checkpointing_enable({"use_reentrant": False})
            self.stock.disable_input_require_grads()
            self._switches = [part for part in self.stock.modules() if hasattr(part, "gradient_checkpointing")]
        for part in self._switches:
            part.gradient_checkpointing = again  # type: ignore[assignment]

    def _first_slopes(self) -> nn.ParameterList:
        if self.backend == "flex":
            raise DtiError("attention.slopes: learned slopes do not run on flex; set attention.backend blocks")
        layers = self.stock.config.num_hidden_layers
        return nn.ParameterList(nn.Parameter(slopes_of(self._heads).float()) for _ in range(layers))

    @property
    def _heads(self) -> int:
        return int(self.stock.config.num_attention_heads)

    def _embedded(self, tokens: Tensor) -> Tensor:
        # A copy that waited for the GPU would keep this pass from being planned beside the one before.
        return self.stock.get_decoder().get_input_embeddings()(tokens[None].to(self.device, non_blocking=True))

    def _hidden(self, embedded_1TD: Tensor, reading: Reading) -> Tensor:
        decoder = self.stock.get_decoder()
        reading = replace(reading, slopes=None if self.slopes is None else list(self.slopes))
        return decoder(inputs_embeds=embedded_1TD, reading=reading, use_cache=False).last_hidden_state[0]

    def _logits(self, hidden_QD: Tensor) -> Tensor:
        """The logit of each target, (K,), from the hidden states of all probe tokens: its last one's gives it."""
        hidden_KD = hidden_QD[self.sight.probe_tokens - 1 :: self.sight.probe_tokens]
        head = self.stock.get_output_embeddings().weight
        answer_D = (head[self.tokens.yes] - head[self.tokens.no]).float()
        return (hidden_KD.float() * answer_D).sum(-1)  # no matrix product: autocast would round it to bf16
