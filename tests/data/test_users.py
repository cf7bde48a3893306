import numpy as np
import polars as pl
import pytest

from dti.data.demo import generate
from dti.errors import DtiError


@pytest.fixture
def many(shop):
    generate(shop.raw, users=30, interactions=600, items=30, seed=3)
    return shop


def kept(shop, users):
    report = shop.prepare(users=users)
    return report, set(shop.read()["user_id"])


def test_null_keeps_all(many):
    report, users = kept(many, None)
    assert len(users) == 30
    assert report["users_kept"] == {"kept": 30, "of": 30}


def test_the_drawn_users_keep_their_whole_histories_and_their_profiles(many):
    many.prepare()
    before = many.read()
    report, users = kept(many, 7)
    assert len(users) == report["users"] == 7
    assert report["users_kept"] == {"kept": 7, "of": 30}
    assert many.read().equals(before.filter(pl.col("user_id").is_in(users)))
    assert set(many.read("users")["user_id"]) == users
    assert len(many.read("items")) == report["items"] == 30


def test_the_draw_is_the_documented_one(many):
    ids = sorted(kept(many, None)[1])
    assert kept(many, 7)[1] == {ids[place] for place in np.random.default_rng(0).permutation(30)[:7]}
    assert kept(many, 7)[1] < kept(many, 20)[1]


def test_the_order_of_the_file_does_not_matter(many):
    first = kept(many, 7)[1]
    header, *rows = (many.raw / "clicks.csv").read_text().splitlines()
    many.write("clicks.csv", "\n".join([header, *reversed(rows)]) + "\n")
    assert kept(many, 7)[1] == first


def test_more_users_than_there_are_is_refused(many):
    with pytest.raises(DtiError, match="data.users: 31 users are asked for, but there are 30; lower it"):
        many.prepare(users=31)
