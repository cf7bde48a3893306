"""One row of packed prompts: content first, one probe per target last.

Shape suffixes: S content tokens, M interactions, P prompts, K probes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """The structure of a row that holds whole prompts, one after another, without holes or padding.

    Two prompts, the first with a profile p, contexts a b c, targets b c; the second with context d, target e (x: item
    text of two tokens, y: label token). The label of a prompt's last interaction is left out: nobody reads it. ::

        token         p p ax ax ay bx bx by cx cx | dx dx dy ex ex
        interaction         0  0  0  1  1  1  2  2    3  3  3  4  4      M = 5
        prompt        0 0 0 ...                     1                    P = 2
        probes        interactions 1, 2, 4                               K = 3

    Attributes:
        tokens_S: token ids of the content.
        start_M: the first token of each interaction.
        label_M: the place of its label token; equals ``stop_M`` where the label is left out.
        stop_M: one past its last token.
        prompt_M: the prompt that it stands in.
        first_P: the first interaction of each prompt.
        prefix_start_P: the first token of each prompt's prefix (the user's profile).
        prefix_stop_P: one past it; equals ``prefix_start_P`` where there is none.
        target_K: the interaction that each probe predicts, ascending.
        answer_K: the label of each target, 0 or 1.
        shard_K, place_K: the shard and the row in it where each target is stored.
    """

    tokens_S: Ints
    start_M: Ints
    label_M: Ints
    stop_M: Ints
    prompt_M: Ints
    first_P: Ints
    prefix_start_P: Ints
    prefix_stop_P: Ints
    target_K: Ints
    answer_K: Ints
    shard_K: Ints
    place_K: Ints
