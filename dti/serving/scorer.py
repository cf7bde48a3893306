"""Scores of requests: a user's history, many candidates, one forward pass for all that fit into it.

Each candidate is read beside the others, never with them, so its score is its own. Where content is isolated and its
keys do not depend on places (probe_position local or alibi), the catalogue's keys and values are computed once and
kept, and a candidate costs one probe token. Elsewhere the context is computed once for all candidates of a pass.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from dti.attention.plugin import Choice
from dti.model.adapter import load
from dti.model.catalogue import keep_states, states_of
from dti.model.ctr import CtrModel
from dti.model.device import device_of
from dti.model.scoring import probability
from dti.prompts.beside import asked_row
from dti.prompts.row import reach
from dti.serving.bundle import Bundle
from dti.serving.items import Items, Resolved
from dti.serving.requests import Request, name_of, parse_requests

TOKENS_PER_PASS = 8192
"""Content tokens of one pass; bounds the memory."""
LATER_BYTES = 256 * 2**20
LATER_TOKENS = 2**20
"""What texts that requests brought may take before they are forgotten: bytes of kept states, tokens."""

Piece = tuple[int, slice]
"""A request's number, and some of its candidates."""


class Scorer:
    """A model that answers requests; threads take turns.

    Args:
        bundle: where texts come from.
        model: the trained model, on its device.
    """

    def __init__(self, bundle: Bundle, model: CtrModel, tokens_per_pass: int = TOKENS_PER_PASS) -> None:
        self.bundle, self.model, self.tokens_per_pass = bundle, model, tokens_per_pass
        self.items = Items(bundle)
        self.cached = model.sight.policy == "isolated" and model.sight.probe_position != "rope"
        self._turn = threading.Lock()
        self._later_most = LATER_TOKENS
        if self.cached:
            keep_states(model, self.items.catalogue, tokens_per_pass, "fp32")
            assert model.states is not None
            shape = model.states.shape
            self._later_most = LATER_BYTES * shape.tokens // shape.bytes

    @classmethod
    def open(cls, folder: Path, device: str = "auto", backend: Choice = "blocks") -> Self:
        """Open a bundle for scoring, on CPU or GPU.

        Args:
            device: ``auto`` takes a GPU where there is one.

        Raises:
            DtiError: the bundle is damaged or does not fit its base model, or there is no such device.
        """
        bundle = Bundle.open(folder)
        model, _ = load(bundle.adapter, backend, device_of(device))
        return cls(bundle, model)

    def score(
        self, requests: Sequence[Request | Mapping[str, Any]], names: Sequence[str] | None = None
    ) -> list[np.ndarray]:
        """For each request the probability of a click for each candidate, in order, float64.

        Args:
            names: what errors call each request; None: ``request 0`` and so on.

        Raises:
            DtiError: a request is wrong; names it and the field. Nothing is scored then.
        """
        parsed = parse_requests(requests, names)
        with self._turn, torch.inference_mode():
            resolved = [self.items.resolve(request, name_of(i, names)) for i, request in enumerate(parsed)]
            scores = [np.empty(len(one.candidates)) for one in resolved]
            for pieces in self._passes(resolved):
                self._score(resolved, pieces, scores)
        return [score[one.place] for score, one in zip(scores, resolved, strict=True)]

    def _score(self, resolved: list[Resolved], pieces: list[Piece], scores: list[np.ndarray]) -> None:
        """Score one pass and put the results in their places."""
        self._extend([(resolved[number], some) for number, some in pieces])
        asked = [self.items.asked(resolved[number], some) for number, some in pieces]
        found = probability(self.model(asked_row(self.items.catalogue, asked, self.cached)).double().cpu().numpy())
        ends = np.cumsum([one.candidates.size for one in asked])
        for (number, some), score in zip(pieces, np.split(found, ends[:-1]), strict=True):
            scores[number][some] = score

    def _extend(self, pieces: list[tuple[Resolved, slice]]) -> None:
        """Give the pass's new texts numbers, and states where they are kept."""
        new = set[Any]().union(*(self.items.missing(*piece) for piece in pieces))
        if not new:
            return
        tokens = sum(len(text.tokens) + self.items.catalogue.labels_A.size for text in new)
        if self.items.later_tokens + tokens > self._later_most:
            self.items.forget()
            if self.model.states is not None:
                self.model.states = replace(self.model.states, later=None)
            new = set[Any]().union(*(self.items.missing(*piece) for piece in pieces))
        first = self.items.catalogue.items
        self.items.add(new)
        if self.cached:
            for layers in states_of(self.model, self.items.catalogue.rows(self.tokens_per_pass, first), "fp32"):
                assert self.model.states is not None
                self.model.states = self.model.states.extended(layers)

    def _passes(self, resolved: list[Resolved]) -> Iterator[list[Piece]]:
        """Cut the requests into passes of at most ``tokens_per_pass`` content tokens, or of one candidate."""
        part: list[Piece] = []
        room = self.tokens_per_pass
        for number, one in enumerate(resolved):
            shared = len(one.labels) + sum(map(self.items.length, one.context))
            shared += 0 if one.prefix is None else self.items.length(one.prefix)
            ends, low = np.cumsum(list(map(self.items.length, one.candidates))), 0
            while low < ends.size:
                high = reach(ends, low, self.tokens_per_pass - shared)
                tokens = shared + int(ends[high - 1] - (ends[low - 1] if low else 0))
                if part and tokens > room:
                    yield part
                    part, room = [], self.tokens_per_pass
                part.append((number, slice(low, high)))
                room -= tokens
                low = high
        if part:
            yield part
