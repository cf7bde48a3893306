"""params.yaml is validated at the door, and errors name the key."""

from pathlib import Path

import pytest
import yaml

from dti.errors import DtiError
from dti.params import load_params, parse_params

FILE = Path(__file__).parents[1] / "params.yaml"


def changed(path, value):
    content = yaml.safe_load(FILE.read_text())
    place = content
    *parents, last = path.split(".")
    for name in parents:
        place = place[name]
    place[last] = value
    return content


def test_the_projects_own_file_is_valid():
    assert load_params(FILE).data.name == "demo"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("pack.n", 0, "pack.n: 0 is less than the minimum of 1"),
        ("pack.k", "some", "pack.k: .*'all'"),
        ("pack.k", 0, "pack.k: 0 is less than the minimum of 1"),
        ("pack.n", "20", "pack.n: '20' is not of type 'integer'"),
        ("pack.nn", 20, "pack.nn: unknown parameter"),
        ("train.epochs", 1.5, "train.epochs: 1.5 is not of type 'integer'"),
        ("train.learning_rate", 0, "train.learning_rate: 0 is less than or equal to the minimum of 0"),
        ("data.name", "movies", "data.name: 'movies' is not one of .'demo', 'ml-100k', 'ml-1m'"),
        ("data.sha256", "0" * 64, "data.sha256 has no meaning for data.name demo"),
        ("data.sha256", "short", "data.sha256: 'short' does not match"),
        ("attention.policy", "open", "attention.policy: 'open' is not one of .'window', 'isolated'.$"),
        ("attention.leakage", "reset", "attention.leakage reset has no meaning for policy isolated"),
        ("model.revision", "main", "model.revision has no meaning for backbone tiny"),
        ("model.tuning", "lora", "model.tuning lora needs a pretrained backbone"),
        ("model.tiny.heads", 5, "width 64 / heads 5"),
        ("pack.templates", {}, "pack.templates has no entry 'demo'"),
        ("train.init_from", "models/adapter", "train.init_from is this run's own output"),
        ("train.processes", 2, "train.processes 2 needs train.engine ddp or fsdp"),
        ("train.engine", "fsdp", "train.engine fsdp has no meaning for one process"),
        ("model.quantisation", "4bit", "model.quantisation 4bit needs model.tuning lora"),
        ("train.composition", "overlapping", "train.composition overlapping needs attention.layout unique"),
        ("train.composition", "random", "train.composition: 'random' is not one of .'mixed', 'overlapping'"),
        ("train.compile", "yes", "train.compile: 'yes' is not of type 'boolean'"),
        ("demo.interactions", 300, "demo.interactions must be at least 8 per user"),
        ("track", None, "track: None is not of type 'object'"),
        ("track.register", "yes", "track.register: 'yes' is not of type 'boolean'"),
        ("promote.max_ece_rise", -0.1, "promote.max_ece_rise: -0.1 is less than the minimum of 0"),
        ("promote.bootstrap", 10, "promote.bootstrap: 10 is less than the minimum of 100"),
        ("promote.min_gian", 0.1, "promote.min_gian: unknown parameter"),
        ("extra", 1, "extra: unknown parameter"),
    ],
)
def test_a_wrong_value_is_refused_by_name(path, value, message):
    with pytest.raises(DtiError, match=message):
        parse_params(changed(path, value))


def test_a_missing_key_is_named():
    content = yaml.safe_load(FILE.read_text())
    del content["train"]["seed"]
    with pytest.raises(DtiError, match="train.seed: missing"):
        parse_params(content)


@pytest.mark.parametrize("prefix", [{"profile": True}, {"instruction": "Will the user click?"}])
def test_a_prefix_with_rope_probes_needs_sliding_windows(prefix):
    content = changed("attention.probe_position", "rope")
    content["pack"] |= prefix
    with pytest.raises(DtiError, match="needs pack.k 1"):
        parse_params(content)
    content["pack"]["k"] = 1
    assert parse_params(content).pack.k == 1


def test_items_have_tokens_of_their_own_in_a_vocabulary_of_our_own_alone():
    content = changed("pack.item_tokens", True)
    assert parse_params(content).pack.item_tokens
    content["model"]["backbone"] = "some/model"
    with pytest.raises(DtiError, match="pack.item_tokens needs model.backbone tiny"):
        parse_params(content)


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        ({"layout": "unique", "policy": "window"}, "layout unique needs policy isolated: a window's states depend"),
        (
            {"layout": "unique", "probe_position": "rope"},
            "layout unique cannot serve probe_position rope: an item",
        ),
        ({"content": "frozen"}, "content frozen reads the catalogue's states; set attention.layout unique"),
        ({"slopes": "learned", "probe_position": "rope"}, "slopes learned has no meaning for probe_position rope"),
        ({"slopes": "learned", "backend": "flex"}, "slopes learned does not run on flex; set attention.backend blocks"),
        ({"content": "frozen", "layout": "unique"}, "content frozen needs model.tuning lora"),
    ],
)
def test_combinations_that_cannot_work_are_refused_with_the_reason(attention, message):
    content = yaml.safe_load(FILE.read_text())
    content["attention"] |= attention
    with pytest.raises(DtiError, match=message):
        parse_params(content)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data.split", "none", "train.targets leaves users out, where data.split none trains on everyone"),
        ("pack.item_tokens", True, "train.targets would leave tokens of pack.item_tokens untrained"),
    ],
)
def test_some_users_alone_are_refused_where_all_are_needed(name, value, message):
    content = changed(name, value)
    assert parse_params(content).train.targets is None
    content["train"]["targets"] = 100
    with pytest.raises(DtiError, match=message):
        parse_params(content)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("train", {"compile": True, "device": "cpu"}, "train.compile gains nothing on a CPU"),
        ("model", {"quantisation": "8bit", "tuning": "lora", "backbone": "m.gguf"}, "GGUF file is dequantised"),
    ],
)
def test_what_gains_nothing_is_refused(section, values, message):
    content = yaml.safe_load(FILE.read_text())
    content[section] |= values
    with pytest.raises(DtiError, match=message):
        parse_params(content)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"device": "cpu"}, "model.quantisation needs a GPU; set train.device cuda"),
        ({"engine": "fsdp", "processes": 2}, "model.quantisation does not go with train.engine fsdp"),
    ],
)
def test_few_bits_are_refused_where_they_cannot_train(train, message):
    content = yaml.safe_load(FILE.read_text())
    content["model"] |= {"quantisation": "4bit", "tuning": "lora", "backbone": "somebody/model"}
    content["train"] |= train
    with pytest.raises(DtiError, match=message):
        parse_params(content)


def test_a_file_that_is_missing_or_no_yaml(tmp_path):
    with pytest.raises(DtiError, match="not found; run from the project's folder"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(DtiError, match="no valid YAML"):
        load_params(tmp_path / "params.yaml")
