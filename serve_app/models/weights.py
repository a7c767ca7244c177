"""What operators do with weights: pull and remove them, within what the settings allow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from serve_app.errors import InvalidRequest, ModelInUse, ModelNotFound, PullFailed
from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import check_name
from serve_app.models.pull import Tell, is_allowed, pull
from serve_app.models.sources import is_on_hub
from serve_app.models.store import Pulled
from serve_app.settings import WELL_KNOWN


@dataclass(frozen=True, slots=True)
class Origin:
    """What a model is called in the store."""

    name: str
    revision: str | None


def pull_model(
    catalogue: Catalogue,
    name: str,
    *,
    token: str | None = None,
    tell: Tell | None = None,
    stop: threading.Event | None = None,
) -> Pulled:
    """
    Have a model of the settings, or an allowed repository, on this machine as it is on the hub now. Blocks meanwhile.

    Args:
        name: A model id, an alias or a repository.
        token, tell, stop: As `pull` takes them.

    Raises:
        InvalidRequest: It does not come from the hub, or the settings do not allow the repository.
        PullFailed: It cannot be had now, or offline is set and it is not here.
    """
    origin = check_pull(catalogue, name)
    if catalogue.settings.offline:
        pulled = catalogue.store.find(origin.name, origin.revision)
        if pulled is None:
            raise PullFailed(
                f"offline is set, so {name} was not pulled: bring it with `rayscribe models export` on a machine with a"
                " connection and `rayscribe models import` here."
            )
        return pulled
    return pull(catalogue.store, origin.name, origin.revision, token=token, tell=tell, stop=stop)


def remove_model(catalogue: Catalogue, name: str, *, in_use: Callable[[str], bool] = lambda _: False) -> str:
    """
    Delete weights that were pulled or imported, also half of them; gives the model's id.

    Args:
        in_use: Whether a model is loaded somewhere, or about to be.

    Raises:
        ModelNotFound: Nothing is called so, or it was not pulled.
        InvalidRequest: The weights belong to a wheel or to a directory of the user's.
        ModelInUse: It is loaded, or being pulled.
    """
    model_id, origin = _origin_to_remove(catalogue, name)
    store, key = catalogue.store, (origin.name, origin.revision)
    if not store.find(*key) and not store.has_half_done(*key):
        raise ModelNotFound(f"{model_id} was not pulled: there is nothing to remove.", param="model")
    if in_use(model_id):
        raise ModelInUse(f"{model_id} is loaded: unload it first.", param="model")
    try:
        with store.locked(*key):
            store.forget_half_done(*key)
            if store.find(*key):
                store.remove(*key)
    except BlockingIOError:
        raise ModelInUse(f"{model_id} is being pulled: stop that first.", param="model") from None
    return model_id


def check_pull(catalogue: Catalogue, name: str) -> Origin:
    """
    What a model that may be pulled is called at the hub.

    Raises:
        InvalidRequest: As `pull_model`.
    """
    model = catalogue.settings.models.get(catalogue.resolve(name) or "")
    if model is not None:
        if not is_on_hub(model.source):
            raise InvalidRequest(
                f"{name} comes from {model.source} and not from a hub: it needs no pull.", param="model"
            )
        return Origin(model.source, model.revision)
    if name in WELL_KNOWN:
        raise InvalidRequest(
            f"{name} is no model of the settings: make it the default_model, or pull {WELL_KNOWN[name]['source']}"
            " and call it so.",
            param="model",
        )
    check_name(name)
    patterns = catalogue.settings.hub.allow
    if name.count("/") != 1 or not is_allowed(name, patterns):
        raise InvalidRequest(
            f"{name} is no model of the settings and not among the repositories that hub.allow names"
            f" ({', '.join(patterns) or 'none'}): add it there.",
            param="model",
        )
    return Origin(name, None)


def _origin_to_remove(catalogue: Catalogue, name: str) -> tuple[str, Origin]:
    model_id = catalogue.resolve(name) or name  # of what is in no catalogue, half may be here
    model = catalogue.settings.models.get(model_id)
    if model is None:
        return model_id, Origin(model_id, None)
    if not is_on_hub(model.source):
        raise InvalidRequest(
            f"{model_id} comes from {model.source}, which was not pulled: only who put it there may delete it.",
            param="model",
        )
    return model_id, Origin(model.source, model.revision)
