"""The unique layout (ours): each distinct text of a row stands once, with the labels that the row needs behind it.

Shape suffixes as in ``row.py``; E encoded texts, B label tokens of the row.
"""

import numpy as np

from dti.prompts.build import Interactions, interactions_of, users_of
from dti.prompts.catalogue import Catalogue
from dti.prompts.packing import Prompts
from dti.prompts.row import Ints, Row
from dti.prompts.store import Store


def build_unique(store: Store, prompts: Prompts) -> Row:
    """One row of the given prompts, each distinct text once; see ``Row`` for the layout."""
    profile_P = store.catalogue.profile_U[users_of(store, prompts)]
    return lay_unique(store.catalogue, interactions_of(store, prompts), profile_P)


def lay_unique(catalogue: Catalogue, found: Interactions, profile_P: Ints, order_M: Ints | None = None) -> Row:
    """One row of the given interactions, each distinct text once.

    Args:
        profile_P: the text of each prompt's prefix; -1 for none.
        order_M: as in ``Row``.
    """
    text_E = np.union1d(found.item_M, profile_P[profile_P >= 0])
    piece_M = np.searchsorted(text_E, found.item_M)
    read_M = found.token_M >= 0
    labels = catalogue.labels_A.size
    pair_M = piece_M * labels + np.searchsorted(catalogue.labels_A, found.token_M)
    pair_B, used_M = np.unique(pair_M[read_M], return_inverse=True)
    laid = catalogue.lay(text_E, *np.divmod(pair_B, labels))
    label_M = np.full(piece_M.size, -1, np.int64)
    label_M[read_M] = laid.label_B[used_M]
    prefix_P = np.searchsorted(text_E, profile_P)
    prefix_length_P = np.where(profile_P >= 0, laid.length_E[prefix_P], 0)
    prefix_start_P = np.where(profile_P >= 0, laid.start_E[prefix_P], 0)
    return Row(
        layout="unique",
        tokens_S=laid.tokens_S,
        start_E=laid.start_E,
        text_stop_E=laid.start_E + laid.length_E,
        stop_E=laid.stop_E,
        start_M=laid.start_E[piece_M],
        text_M=laid.length_E[piece_M],
        label_M=label_M,
        prompt_M=found.prompt_M,
        first_P=found.first_P,
        prefix_start_P=prefix_start_P,
        prefix_stop_P=prefix_start_P + prefix_length_P,
        target_K=found.target_K,
        answer_K=found.answer_M[found.target_K],
        place_S=laid.place_S,
        order_M=order_M,
    )
