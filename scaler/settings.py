"""Settings of the service: one frozen object, read from flags, environment and a YAML file, in that order."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from scaler.core.trust import TrustRules
from scaler.errors import SettingsError


class Settings(BaseModel):
    """What an operator can set; each field is the flag `--field-name` and the variable `FORESAIL_FIELD_NAME`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    grpc_listen: str = "127.0.0.1:50051"
    """Address and port of the gRPC door (KEDA's external scaler)."""
    http_listen: str = "127.0.0.1:8080"
    """Address and port of the HTTP door."""
    tls_cert: Path | None = None
    """Certificate chain (PEM) of both doors; with it they speak TLS only. Read again when it changes."""
    tls_key: Path | None = Field(default=None, validate_default=True)
    """Private key (PEM, not encrypted) of tls_cert."""
    tls_client_ca: Path | None = Field(default=None, validate_default=True)
    """Authorities (PEM) of client certificates; with it both doors ask every client for one."""
    tls_client_names: tuple[str, ...] = Field(default=(), validate_default=True)
    """DNS names or URIs, separated by commas, one of which a client certificate must hold; empty: any of the CA's."""
    http_token_file: Path | None = None
    """File with the secret that `Authorization: Bearer …` must show to whatever stores or changes over HTTP."""
    var: Path = Path("var")
    """Folder for state."""
    kubeconfig: Path | None = None
    """Kubeconfig of the cluster whose ScaledObjects, HPAs and pods are read; in a pod its own account does."""
    journal_days: float = Field(default=28.0, gt=0)
    """Days for which decisions are kept."""
    journal_mb: int = Field(default=1024, gt=0)
    """Size of the journal, in MiB, from which its oldest decisions are dropped."""
    config: Path | None = None
    """YAML file with servers, workloads, calendars and settings; read again when it changes."""
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
    agent: Path | None = None
    """Folder of an agent from `foresail train agent`, or of two, `rate` and `queue`; `shipped`: our own; None: none."""
    agent_acts: bool = False
    """Let the agent act where it passed its gate and has compared well on the live load; else it stays in shadow."""
    fit_workers: int = Field(default=1, ge=0, le=64)
    """Processes that fit models; 0: none, models come from the registry, where `foresail retrain` puts them."""
    fit_timeout_s: float = Field(default=120.0, gt=0)
    """Time after which a fit is ended and the model in use stays."""
    fit_memory_mb: int = Field(default=1024, ge=256)
    """Memory that a fitting process may take beyond what it has at its start; a fit that wants more is ended."""
    registry: str | None = None
    """URL of MLflow's registry, such as sqlite:////data/models.db; empty: the folder `models` under var."""
    canary_ratio: float | None = Field(default=None, ge=0)
    """Share that a new model may add to the reactive rule while it is on trial, such as 0.2; empty: no such limit."""
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

    @field_validator("tls_client_names", mode="before")
    @classmethod
    def _separated_by_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("tls_key")
    @classmethod
    def _both_or_neither(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) != (info.data.get("tls_cert") is None):
            raise ValueError("tls_cert and tls_key belong together: set both or neither")
        return value

    @field_validator("tls_client_ca")
    @classmethod
    def _only_under_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("tls_cert") is None:
            raise ValueError("needs tls_cert and tls_key: without them no client shows a certificate")
        return value

    @field_validator("tls_client_names")
    @classmethod
    def _only_with_an_authority(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("tls_client_ca") is None:
            raise ValueError("needs tls_client_ca: names of certificates that nobody signed mean nothing")
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
