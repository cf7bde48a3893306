"""A result as a model and as a version, in a real MLflow with SQLite."""

import json
import shutil
from pathlib import Path

import mlflow.pyfunc
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from dti.errors import DtiError
from dti.params import Params, load_params
from dti.registry.card import model_card
from dti.registry.record import read_record
from dti.registry.tracking import exclusive
from dti.registry.versions import Version, find_version, model_name, open_version, register_result, track

MODEL = model_name("demo")
REQUEST = {"history": [{"item_id": "i1", "label": 1}], "candidates": ["i2", "i3"]}


def unregistered() -> Params:
    params = load_params()
    return params.model_copy(update={"track": params.track.model_copy(update={"register": False})})


def models_of(client: MlflowClient, experiment_id: str) -> list[LoggedModelStatus]:
    return [model.status for model in client.search_logged_models([experiment_id])]


def registered(project: Path) -> Version:
    version = track(project, load_params())[1]
    assert version is not None
    return version


def test_a_version_has_files_code_tags_metrics_and_a_card(project: Path, store: MlflowClient) -> None:
    version = registered(project)
    assert (version.uri, str(version)) == ("models:/dti-ctr-demo/1", "dti-ctr-demo version 1")
    opened = open_version(store, version, Path())
    kept = {path.relative_to(opened.files).as_posix() for path in opened.files.rglob("*") if path.is_file()}
    assert {
        "artifacts/bundle/adapter/model.safetensors",
        "artifacts/bundle/adapter/tokenizer/tokenizer.json",
        "artifacts/origin/params.yaml",
        "artifacts/origin/reports/parity.json",
        "code/dti/serving/scorer.py",
        "requirements.txt",
    } <= kept
    assert not [name for name in kept if "__pycache__" in name]
    assert opened.origin.reports["metrics"]["auc"] == 0.75
    assert opened.origin.parameters["pack"]["k"] == 50
    assert version.tags["dti.backbone"] == "tiny"
    assert version.tags["dti.training_hours"] == "0.02"
    model = store.get_logged_model(version.model_id)
    assert model.params["attention.policy"] == "isolated"
    assert {metric.key: metric.value for metric in model.metrics}["auc"] == 0.75
    card = store.get_model_version(MODEL, "1").description
    for words in (
        "# demo stream k=all isolated",
        "## Data",
        "Demo (generated)",
        "0.7500 [0.7400, 0.7600]",
        "## Limits",
    ):
        assert words in card
    assert "targets are split by global time" in card
    assert "code outside git: `python -m dti reproduce` cannot rebuild it" in card


def test_the_card_of_a_model_trained_on_every_target_speaks_of_no_split(project: Path, store: MlflowClient) -> None:
    params = load_params()
    track(project, params.model_copy(update={"data": params.data.model_copy(update={"split": "none"})}))
    card = store.get_model_version(MODEL, "1").description
    assert "; every target trains." in card
    assert "split by global time" not in card


def test_a_card_says_what_is_known_of_an_item(project: Path, store: MlflowClient) -> None:
    params = load_params()
    own = params.model_copy(update={"pack": params.pack.model_copy(update={"item_tokens": True})})
    cards = [model_card(read_record(project, params), project, each) for each in (params, own)]
    assert ["Item texts are all that it knows of an item" in card for card in cards] == [True, False]
    assert ["have a token of their own" in card for card in cards] == [False, True]


def test_a_card_says_how_probes_read(project: Path, store: MlflowClient) -> None:
    params = load_params()
    other = {"probe_tokens": 4, "slopes": "learned"}
    own = params.model_copy(update={"attention": params.attention.model_copy(update=other)})
    cards = [model_card(read_record(project, params), project, each) for each in (params, own)]
    assert ["positions local; trained" in card for card in cards] == [True, False]
    assert ["positions local, 4 tokens a target, learned slopes; trained" in card for card in cards] == [False, True]


def test_a_version_loads_by_its_alias_and_answers(project: Path, store: MlflowClient) -> None:
    registered(project)
    store.set_registered_model_alias(MODEL, "champion", "1")
    files = open_version(store, find_version(store, MODEL, "champion"), Path()).files
    (answer,) = mlflow.pyfunc.load_model(str(files)).predict([REQUEST])
    assert len(answer["scores"]) == 2


def test_a_result_has_one_version_and_one_model(project: Path, store: MlflowClient) -> None:
    first, again = registered(project), registered(project)
    assert first.number == again.number == register_result(project, unregistered()).number == "1"
    place = track(project, load_params())[0]
    assert models_of(store, place.experiment_id) == [LoggedModelStatus.READY]
    metrics = project / "reports/metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"auc": 0.8}))
    assert registered(project).number == "2"


def test_a_cell_of_a_sweep_has_a_model_and_its_winner_a_version(project: Path, store: MlflowClient) -> None:
    place, version = track(project, unregistered())
    assert version is None
    assert models_of(store, place.experiment_id) == [LoggedModelStatus.READY]
    assert store.search_registered_models() == []
    winner = register_result(project, unregistered())
    assert winner.number == "1"
    assert len(models_of(store, place.experiment_id)) == 1, "the model that its cell has logged"


def test_what_a_killed_recording_left_is_finished(
    project: Path, store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("finalize_logged_model", "create_model_version"):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, name, lambda *_, **__: exec("raise KeyboardInterrupt"))
            with pytest.raises(KeyboardInterrupt):
                track(project, load_params())
    place, version = track(project, load_params())
    assert version is not None
    assert version.number == "1"
    assert models_of(store, place.experiment_id) == [LoggedModelStatus.READY]
    assert not list((project.parent / "a home/mlflow").glob("tmp*")), "no half-made model is left"


def test_versions_are_found_by_number_alias_or_as_the_newest(project: Path, store: MlflowClient) -> None:
    with pytest.raises(DtiError, match=r"dti-ctr-demo: no version is registered; `dvc repro` with track\.register"):
        find_version(store, MODEL)
    store.create_registered_model(MODEL)
    for _ in range(2):
        store.create_model_version(MODEL, "file:///nowhere")
    store.set_registered_model_alias(MODEL, "champion", "1")
    assert find_version(store, MODEL).number == "2"
    assert find_version(store, MODEL, "1").number == find_version(store, MODEL, "champion").number == "1"
    with pytest.raises(DtiError, match="no version is previous"):
        find_version(store, MODEL, "previous")
    for wrong in ("3", "best", "-1", "1.5"):
        with pytest.raises(DtiError, match=rf"no version '{wrong}'; give a number \(1 to 2\) or one of champion"):
            find_version(store, MODEL, wrong)


def test_a_version_without_its_files_is_named(project: Path, store: MlflowClient) -> None:
    version = registered(project)
    shutil.rmtree(open_version(store, version, Path()).files)
    with pytest.raises(DtiError, match="dti-ctr-demo version 1: its files cannot be read"):
        open_version(store, version, Path())


def changed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def pickled(file: Path) -> None:
    file.rename(file.with_name("pytorch_model.bin"))


TAMPERED = {
    "weights": ("adapter/model.safetensors", changed, r"model\.safetensors: changed since the bundle was made"),
    "tokenizer": ("adapter/tokenizer/tokenizer.json", changed, r"tokenizer\.json: changed since the bundle was made"),
    "pickle": ("adapter/model.safetensors", pickled, r"model\.safetensors: missing"),
    "extra": ("items.arrow", lambda file: shutil.copy(file, file.with_name("x.pkl")), r"x\.pkl: not listed"),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_version_whose_files_were_changed_is_not_loaded(project: Path, store: MlflowClient, kind: str) -> None:
    name, tamper, message = TAMPERED[kind]
    files = open_version(store, registered(project), Path()).files
    tamper(files / "artifacts/bundle" / name)
    with pytest.raises(DtiError, match=message):
        mlflow.pyfunc.load_model(str(files))


def test_another_adapter_than_the_packed_data_makes_no_version(project: Path, store: MlflowClient) -> None:
    record = project / "models/adapter/dti.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"packed_digest": "0"}))
    with pytest.raises(DtiError, match="was trained on other packed data"):
        track(project, load_params())
    with exclusive() as client:
        assert client.search_registered_models() == []


def test_parameters_of_a_later_code_do_not_matter(project: Path, store: MlflowClient) -> None:
    content = yaml.safe_load((project / "params.yaml").read_text())
    files = open_version(store, registered(project), Path()).files
    (files / "artifacts/origin/params.yaml").write_text(yaml.safe_dump(content | {"promote": {"unknown": 1}}))
    assert open_version(store, find_version(store, MODEL), Path()).origin.parameters["promote"] == {"unknown": 1}
