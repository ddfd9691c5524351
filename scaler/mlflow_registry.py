"""MLflow's model registry as ours: the door to mlflow, by the URL of a server or of an SQLite file.

A name is a registered model, a version a model version with its arrays as an artifact; the champion is an alias, which
MLflow moves at once, and all else are tags. Whoever reads trusts the alias over the tags.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from scaler.errors import StoreError
from scaler.model_folder import KEPT, NOT_ARRAYS, pack, unpacked
from scaler.registry import Arrays, Change, Origin, Stage, Version, as_json, digest_of, from_json, kept_of

Answer = TypeVar("Answer")
PREFIX, ALIAS, TAG, ARTIFACT = "foresail.", "champion", "foresail", "model.npz"
EXPERIMENT = "foresail"
LONGEST_HISTORY = 12
"""Newest changes kept of a version: a tag holds 5,000 characters."""
REASON = 200
"""Characters kept of each reason, for the same."""


class MlflowRegistry:
    """As `registry.Registry`."""

    def __init__(self, url: str, kept: int = KEPT) -> None:
        self._url, self._kept = url, kept
        self._client = self._asked(lambda: MlflowClient(tracking_uri=url, registry_uri=url))

    def names(self) -> list[str]:
        """As `Registry.names`."""
        found, token = [], None
        while True:
            page = self._asked(lambda token=token: self._client.search_registered_models(page_token=token))  # type: ignore[misc]
            found += [_ours(model.name) for model in page if model.name.startswith(PREFIX)]
            token = page.token
            if not token:
                return sorted(name for name in found if self.versions(name))

    def versions(self, name: str) -> tuple[Version, ...]:
        """As `Registry.versions`."""
        champion = self._champion(name)
        found = []
        for known in self._known(name).values():
            version = self._understood(name, known)
            if (version.stage is Stage.CHAMPION) != (version.number == champion):
                stage = Stage.CHAMPION if version.number == champion else Stage.RETIRED
                last = replace(version.changes[-1], stage=stage)
                version = replace(version, changes=(*version.changes[:-1], last))
            found.append(version)
        return tuple(sorted(found, key=lambda one: one.number))

    def load(self, version: Version) -> Arrays:
        """As `Registry.load`."""
        known = self._known(version.name).get(version.number)
        if known is None:
            raise StoreError(f"{self._url}: {version.name} has no version {version.number} any more")
        with tempfile.TemporaryDirectory() as folder:
            path = self._asked(lambda: self._client.download_artifacts(known.run_id, ARTIFACT, folder))
            try:
                with Path(path).open("rb") as file:
                    arrays = unpacked(file)
            except (OSError, *NOT_ARRAYS) as error:
                raise StoreError(f"{self._url}: {version.name} version {version.number}: {error}") from error
        if digest_of(arrays) != version.digest:
            what = f"{version.name} version {version.number}"
            raise StoreError(f"{self._url}: the content of {what} is not what was registered")
        return arrays

    def register(self, name: str, arrays: Arrays, origin: Origin, change: Change) -> Version:
        """As `Registry.register`."""
        digest, versions = digest_of(arrays), self.versions(name)
        for known in versions:
            if known.digest == digest and known.origin.cutoff_s == origin.cutoff_s:
                return known
        fresh = Version(name, 0, origin, digest, (change,))

        def kept() -> int:
            if not versions and not self._there(name):
                self._client.create_registered_model(_theirs(name))
            run = self._client.create_run(self._experiment(), run_name=name)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / ARTIFACT
                with path.open("wb") as file:
                    pack(file, arrays)
                self._client.log_artifact(run.info.run_id, str(path))
            self._client.set_terminated(run.info.run_id)
            made = self._client.create_model_version(
                _theirs(name), source=run.info.artifact_uri, run_id=run.info.run_id, tags={TAG: _tag(fresh)}
            )
            return int(made.version)

        version = replace(fresh, number=self._asked(kept))
        self._clean((*versions, version))
        return version

    def move(self, name: str, changes: Mapping[int, Change]) -> None:
        """As `Registry.move`: new champions' tags, then the alias, which alone counts, then the others' tags."""
        known = {one.number: one for one in self.versions(name)}
        if set(changes) - set(known):
            raise StoreError(f"{name}: no version {min(set(changes) - set(known))}")
        before = next((one.number for one in known.values() if one.stage is Stage.CHAMPION), None)
        risen = [number for number, change in changes.items() if change.stage is Stage.CHAMPION]

        def moved() -> None:
            for number in sorted(changes, key=lambda one: one not in risen):
                version = replace(known[number], changes=(*known[number].changes, changes[number]))
                self._client.set_model_version_tag(_theirs(name), str(number), TAG, _tag(version))
                if number in risen:
                    self._client.set_registered_model_alias(_theirs(name), ALIAS, str(number))
            if before in changes and not risen:
                self._client.delete_registered_model_alias(_theirs(name), ALIAS)

        self._asked(moved)

    def _known(self, name: str) -> dict[int, ModelVersion]:
        query = f"name='{_theirs(name)}'"
        return {int(one.version): one for one in self._asked(lambda: list(self._client.search_model_versions(query)))}

    def _there(self, name: str) -> bool:
        try:
            self._client.get_registered_model(_theirs(name))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return True

    def _champion(self, name: str) -> int | None:
        def read() -> int | None:
            if not self._there(name):
                return None
            found = self._client.get_registered_model(_theirs(name)).aliases.get(ALIAS)
            return None if found is None else int(found)

        return self._asked(read)

    def _understood(self, name: str, known: ModelVersion) -> Version:
        try:
            return from_json(name, {**json.loads(known.tags[TAG]), "number": int(known.version)})
        except (KeyError, TypeError, ValueError) as error:
            what = f"{_theirs(name)} version {known.version}"
            raise StoreError(f"{self._url}: {what} is no model of ours: {error!r}") from error

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        beside = None
        if self._url.startswith("sqlite:///"):
            beside = Path(self._url.removeprefix("sqlite:///")).resolve().with_suffix(".artifacts").as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=beside))

    def _clean(self, versions: tuple[Version, ...]) -> None:
        gone = {one.number for one in versions} - {one.number for one in kept_of(versions, self._kept)}
        for number in gone:
            name = _theirs(versions[0].name)
            known = self._asked(lambda name=name, number=number: self._client.get_model_version(name, str(number)))  # type: ignore[misc]
            self._asked(lambda name=name, number=number: self._client.delete_model_version(name, str(number)))  # type: ignore[misc]
            self._asked(lambda known=known: self._client.delete_run(known.run_id))  # type: ignore[misc]

    def _asked(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise StoreError(f"{self._url}: {str(error)[:300]}") from error


def _theirs(name: str) -> str:
    """A name as MLflow allows it: without / and :, and without the quotes and per cents of its own queries."""
    return PREFIX + quote(name, safe="").replace("%", "=")


def _ours(name: str) -> str:
    return unquote(name.removeprefix(PREFIX).replace("=", "%"))


def _tag(version: Version) -> str:
    changes = tuple(replace(one, why=one.why[:REASON]) for one in version.changes[-LONGEST_HISTORY:])
    return json.dumps(as_json(replace(version, changes=changes)))
