"""Settings of the service: one frozen object, read from flags, environment and a YAML file, in that order."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from scaler.core.trust import TrustRules
from scaler.errors import SettingsError


class Settings(BaseModel):
    """What an operator can set; each field is the flag `--field-name` and the variable `FORESAIL_FIELD_NAME`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    grpc_listen: str = "127.0.0.1:50051"
    """Address and port of the gRPC door (KEDA's external scaler)."""
    http_listen: str = "127.0.0.1:8080"
    """Address and port of the HTTP door."""
    var: Path = Path("var")
    """Folder for state."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    log_format: Literal["console", "json"] = "console"
    """How log lines look."""
    stale_s: float = Field(default=60.0, gt=0)
    """Age of the newest sample from which the answer is held, at least three steps of the workload."""
    failed_s: float = Field(default=600.0, gt=0)
    """Age of the newest sample from which GetMetrics fails, so that KEDA's fallback acts."""
    first_answer_s: float = Field(default=2.0, gt=0, le=30)
    """How long a first request waits for its workload's first decision."""
    max_workloads: int = Field(default=5000, gt=0)
    """Workloads tracked in total."""
    max_workloads_per_namespace: int = Field(default=1000, gt=0)
    """Workloads tracked in one namespace."""
    forget_after_s: float = Field(default=3600.0, gt=0)
    """Time without any request after which a workload that was not declared is forgotten."""
    fit_workers: int = Field(default=1, ge=1, le=64)
    """Processes that fit models."""
    fit_timeout_s: float = Field(default=120.0, gt=0)
    """Time after which a fit is ended and the model in use stays."""
    read_timeout_s: float = Field(default=5.0, gt=0)
    """Time that reading a workload's newest sample may take."""
    drain_s: float = Field(default=10.0, ge=0)
    """Time that open requests have to end at shutdown."""

    @field_validator("grpc_listen", "http_listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or not 0 <= int(port) <= 65_535:
            raise ValueError("must be address:port, such as 127.0.0.1:8080")
        return value

    @property
    def trust(self) -> TrustRules:
        """Rules of the ladder with these time limits."""
        return TrustRules(stale_s=self.stale_s, failed_s=self.failed_s)


def load_settings(given: Mapping[str, Any]) -> Settings:
    """Build settings from values by field name; what is absent or None keeps its default.

    Raises:
        SettingsError: an unknown name or a value that does not fit; names both and says what would.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, p['loc']))}: {p['msg']}, not {p['input']!r}" for p in error.errors())
        raise SettingsError("; ".join(problems)) from error
