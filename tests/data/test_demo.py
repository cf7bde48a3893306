import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from dti.data import demo
from dti.data.demo import generate
from dti.files import digest_of


@pytest.fixture(scope="module")
def clicks(tmp_path_factory) -> pl.DataFrame:
    folder = tmp_path_factory.mktemp("demo")
    generate(folder, users=2000, interactions=100_000, items=400, seed=7)
    return pl.read_csv(folder / "clicks.csv").join(pl.read_csv(folder / "items.csv"), on="item_id")


def test_the_same_seed_makes_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        generate(tmp_path / name, users=20, interactions=400, items=30, seed=seed)
    digests = [digest_of([tmp_path / name]) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(("users", "interactions", "items"), [(10, 200, 20), (50, 400, 21)])
def test_small_sizes_come_out_exactly(tmp_path, users, interactions, items):
    generate(tmp_path, users=users, interactions=interactions, items=items, seed=0)
    made = pl.read_csv(tmp_path / "clicks.csv")
    assert (len(made), made["user_id"].n_unique()) == (interactions, users)
    assert len(pl.read_csv(tmp_path / "items.csv")) == items
    assert len(pl.read_csv(tmp_path / "users.csv")) == users


def test_histories_vary_and_times_strictly_increase(clicks):
    lengths = clicks.group_by("user_id").len()["len"]
    assert (lengths.min(), lengths.max() > 150) == (15, True)
    assert clicks["timestamp"].is_sorted()
    assert clicks.select(pl.struct("user_id", "timestamp").is_unique().all()).item()
    assert (clicks["timestamp"].max() - demo.START) / demo.DAY < demo.DAYS + 1


def test_labels_follow_the_known_probabilities(clicks):
    probability, label = clicks["probability"].to_numpy(), clicks["label"].to_numpy()
    assert probability.min() >= demo.MISTAKE
    assert probability.max() <= 1 - demo.MISTAKE
    bins = np.digitize(probability, np.linspace(0, 1, 11))
    for number in np.unique(bins):
        chosen = bins == number
        assert label[chosen].mean() == pytest.approx(probability[chosen].mean(), abs=4 * 0.5 / chosen.sum() ** 0.5)


def test_the_oracle_leaves_popularity_far_behind(clicks):
    later = clicks.slice(90_000)
    rates = clicks.head(80_000).group_by("item_id").agg(pl.col("label").mean().alias("rate"))
    popularity = later.join(rates, on="item_id", maintain_order="left")
    assert 0.85 < roc_auc_score(later["label"], later["probability"]) < 0.94
    assert 0.55 < roc_auc_score(popularity["label"], popularity["rate"]) < 0.72


def test_texts_tell_the_quality(clicks):
    words = clicks["title"].str.split(" ").list.first()
    assert set(words) == set(demo.WORDINGS)
    rates = clicks.group_by(words.alias("wording")).agg(pl.col("label").mean()).sort("label")
    assert rates["wording"].to_list()[0] == "worn"
    assert rates["wording"].to_list()[-1] == "award-winning"
