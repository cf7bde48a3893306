"""Where champion, challenger and previous point, moved together although MLflow sets one alias per call.

A move is written down first, in a tag of the registered model; every call that finds such a journal finishes it. So a
killed move is finished by the next promotion or rollback, and nobody decides on half of it.
"""

import json
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
NAMES = (CHAMPION, CHALLENGER, PREVIOUS)
JOURNAL = "dti.moving"


def aliases_of(client: MlflowClient, model: str) -> dict[str, str]:
    """The version behind each of our aliases; what is not set is not there. A move under way is finished first."""
    settle(client, model)
    found = client.get_registered_model(model).aliases
    return {name: str(found[name]) for name in NAMES if name in found}


def move(
    client: MlflowClient, model: str, aliases: Mapping[str, str], tags: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Point the aliases at these versions, remove our others, and give versions their tags: all, or after a kill later.

    Args:
        tags: by version.
    """
    plan = {"aliases": dict(aliases), "tags": {version: dict(values) for version, values in (tags or {}).items()}}
    client.set_registered_model_tag(model, JOURNAL, json.dumps(plan))
    settle(client, model)


def settle(client: MlflowClient, model: str) -> None:
    """Finish a move that was begun, if there is one: doing a step again changes nothing."""
    registered = client.get_registered_model(model)
    if JOURNAL not in registered.tags:
        return
    plan: dict[str, Any] = json.loads(registered.tags[JOURNAL])
    for version, tags in plan["tags"].items():
        for name, value in tags.items():
            client.set_model_version_tag(model, version, name, value)
    for name in NAMES:
        if name in plan["aliases"]:
            client.set_registered_model_alias(model, name, plan["aliases"][name])
        elif name in registered.aliases:
            client.delete_registered_model_alias(model, name)
    client.delete_registered_model_tag(model, JOURNAL)


def after_promotion(aliases: Mapping[str, str], version: str) -> dict[str, str]:
    """The version becomes champion, and the champion previous."""
    kept = {name: number for name, number in aliases.items() if (name, number) != (CHALLENGER, version)}
    replaced = {PREVIOUS: aliases[CHAMPION]} if CHAMPION in aliases else {}
    return kept | replaced | {CHAMPION: version}


def after_refusal(aliases: Mapping[str, str], version: str) -> dict[str, str]:
    """The version is the challenger; nothing else changes."""
    return {**aliases, CHALLENGER: version}


def after_rollback(aliases: Mapping[str, str]) -> dict[str, str]:
    """Champion and previous change places."""
    return {**aliases, CHAMPION: aliases[PREVIOUS], PREVIOUS: aliases[CHAMPION]}
