"""Where models are kept: a folder under var, or MLflow by its URL."""

from pathlib import Path

from scaler.errors import SettingsError
from scaler.model_folder import ModelFolder
from scaler.registry import Registry

MLFLOW = ("sqlite:", "http:", "https:", "postgresql:", "mysql:")
"""Beginnings of the URLs that MLflow understands."""


def opened(url: str | None, var: Path) -> Registry:
    """The registry at `url`; without one, the folder `models` under `var`.

    Raises:
        SettingsError: a URL that nobody understands, or one of MLflow's where that is not installed.
        StoreError: it could not be opened.
    """
    if url is None:
        return ModelFolder(var / "models")
    if not url.startswith(MLFLOW):
        raise SettingsError(f"registry must be a URL that begins with {', '.join(MLFLOW)}, not {url!r}")
    try:
        from scaler.mlflow_registry import MlflowRegistry  # noqa: PLC0415 - an extra that takes seconds to load
    except ImportError as error:
        raise SettingsError(f"registry {url} needs MLflow: pip install 'foresail[mlflow]' ({error})") from error
    return MlflowRegistry(url)
