"""The unique layout (ours): each distinct text of a row stands once, with the labels that the row needs behind it.

Shape suffixes as in ``row.py``; X texts of the catalogue.
"""

from dataclasses import dataclass

import numpy as np

from dti.prompts.build import before, interactions_of, users_of
from dti.prompts.catalogue import Catalogue
from dti.prompts.packing import Prompts
from dti.prompts.row import Ints, Row, ranges
from dti.prompts.store import Store


@dataclass(frozen=True)
class Texts:
    """The distinct texts of a row, laid out one after another.

    Attributes:
        text_E: each one's number in the catalogue.
        start_E, length_E: its first token, and its text tokens.
        owner_B, rank_B: for each label token, in order: the text before it, and its number among all labels.
        label_B: its place.
    """

    text_E: Ints
    start_E: Ints
    length_E: Ints
    owner_B: Ints
    rank_B: Ints
    label_B: Ints

    @classmethod
    def lay(cls, catalogue: Catalogue, text_E: Ints, owner_B: Ints, rank_B: Ints) -> "Texts":
        """Lay texts out with the given labels, which are sorted by owner."""
        length_E = catalogue.length_X[text_E]
        labels_E = np.bincount(owner_B, minlength=text_E.size)
        start_E = before(length_E + labels_E)
        label_B = (start_E + length_E)[owner_B] + ranges(np.zeros_like(labels_E), labels_E)
        return cls(text_E, start_E, length_E, owner_B, rank_B, label_B)

    def fill(self, text: Ints, label_B: Ints) -> Ints:
        """One value per content token, (S,): ``text`` for the text tokens in order, ``label_B`` for the labels."""
        values_S = np.empty(text.size + label_B.size, np.int64)
        values_S[ranges(self.start_E, self.length_E)] = text
        values_S[self.label_B] = label_B
        return values_S


def build_unique(store: Store, prompts: Prompts) -> Row:
    """One row of the given prompts, each distinct text once; see ``Row`` for the layout."""
    found, catalogue = interactions_of(store, prompts), store.catalogue
    profile_P = catalogue.profile_U[users_of(store, prompts)]
    text_E = np.union1d(found.item_M, profile_P[profile_P >= 0])
    piece_M = np.searchsorted(text_E, found.item_M)
    read_M = found.token_M >= 0
    labels = catalogue.labels_A.size
    pair_M = piece_M * labels + np.searchsorted(catalogue.labels_A, found.token_M)
    pair_B, used_M = np.unique(pair_M[read_M], return_inverse=True)
    texts = Texts.lay(catalogue, text_E, *np.divmod(pair_B, labels))
    label_M = np.full(piece_M.size, -1, np.int64)
    label_M[read_M] = texts.label_B[used_M]
    prefix_P = np.searchsorted(text_E, profile_P)
    prefix_length_P = np.where(profile_P >= 0, texts.length_E[prefix_P], 0)
    prefix_start_P = np.where(profile_P >= 0, texts.start_E[prefix_P], 0)
    return Row(
        layout="unique",
        tokens_S=texts.fill(
            catalogue.tokens[ranges(catalogue.offset_X[text_E], texts.length_E)], catalogue.labels_A[texts.rank_B]
        ),
        start_E=texts.start_E,
        text_stop_E=texts.start_E + texts.length_E,
        stop_E=texts.start_E + texts.length_E + np.bincount(texts.owner_B, minlength=text_E.size),
        start_M=texts.start_E[piece_M],
        text_M=texts.length_E[piece_M],
        label_M=label_M,
        prompt_M=found.prompt_M,
        first_P=found.first_P,
        prefix_start_P=prefix_start_P,
        prefix_stop_P=prefix_start_P + prefix_length_P,
        target_K=found.target_K,
        answer_K=found.answer_M[found.target_K],
        place_S=_places(catalogue, texts),
    )


def _places(catalogue: Catalogue, texts: Texts) -> Ints:
    """Where each content token stands in the catalogue, (S,)."""
    label_X = catalogue.start_X + catalogue.length_X
    return texts.fill(
        ranges(catalogue.start_X[texts.text_E], texts.length_E), label_X[texts.text_E[texts.owner_B]] + texts.rank_B
    )
