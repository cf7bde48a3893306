"""A random choice of users, for experiments that need not see them all."""

import numpy as np
import polars as pl

from dti.errors import DtiError

SEED = 0


def keep_users(frame: pl.DataFrame, users: int | None) -> pl.DataFrame:
    """The interactions of ``users`` users, drawn at random; of all users where it is None.

    The draw depends on the user ids alone, and a smaller one is part of every larger one.

    Raises:
        DtiError: there are fewer users.
    """
    if users is None:
        return frame
    ids = frame["user_id"].unique().cast(pl.String).sort()
    if users > len(ids):
        raise DtiError(
            f"data.users: {users:,} users are asked for, but there are {len(ids):,}; lower it, or set it to null"
        )
    drawn = np.random.default_rng(SEED).permutation(len(ids))[:users]
    return frame.filter(pl.col("user_id").cast(pl.String).is_in(ids[drawn.tolist()].implode()))
