"""Everything that Foresail refuses, by name.

ForesailError
├── TriggerError            trigger metadata that cannot be understood: key, value and what would be right
├── ObservationError        a load sample that cannot be used, with its line
├── RequestError            an HTTP or command-line request that cannot be understood
│   ├── QuerySyntaxError    a query that is no PromQL or outside of what is understood of it
│   └── QueryTooLarge       a query that asks for more than one answer may hold
├── AgentFolderError        a folder that holds no agent, or one of other observations or moves
├── NoAnswer                a running service that a command could not ask, and what to do
├── HistoryError            a load history that cannot be judged, and what would be needed
├── UnknownWorkload         no workload by that namespace and name
├── AmbiguousWorkload       a name that means several workloads; lists their ids
├── TooManyWorkloads        the cap on tracked workloads, per namespace or in total, is reached
├── NotDecidedYet           tracked, but no decision has been posted yet
├── NotKept                 a time of which no decision is kept
├── StaleLoad               no load sample for so long that no answer is better than a guess
├── Unauthenticated         a door that asks for a token or a named client certificate, and got none or a wrong one
├── NotAllowed              a request that these settings allow nobody
├── StoreError              a file under var that cannot be used, and why
├── SourceError             a load source that could not be read
├── ClusterError            the Kubernetes API could not be asked, or refused
│   └── Gone                a watch that cannot go on from where it was: list again
├── FitFailed               a fit that died or took too long
└── SettingsError           settings that cannot be understood
"""


class ForesailError(Exception):
    """Root of all errors of the service."""


class TriggerError(ForesailError):
    """Trigger metadata that cannot be understood."""


class ObservationError(ForesailError):
    """A load sample that cannot be used."""


class RequestError(ForesailError):
    """A request that cannot be understood."""


class QuerySyntaxError(RequestError):
    """A query that is no PromQL or outside of what is understood of it."""


class QueryTooLarge(RequestError):  # noqa: N818
    """A query that asks for more than one answer may hold."""


class NoAnswer(ForesailError):  # noqa: N818
    """A running service could not be asked."""


class HistoryError(ForesailError):
    """A load history that cannot be judged."""


class AgentFolderError(ForesailError):
    """A folder that holds no agent that could be used."""


class UnknownWorkload(ForesailError):  # noqa: N818 - reads as the fact it states
    """No workload by that namespace and name."""


class AmbiguousWorkload(ForesailError):  # noqa: N818
    """A name that means several workloads."""


class TooManyWorkloads(ForesailError):  # noqa: N818
    """The cap on tracked workloads is reached."""


class NotDecidedYet(ForesailError):  # noqa: N818
    """No decision has been posted yet."""


class NotKept(ForesailError):  # noqa: N818
    """No decision is kept of that time."""


class StaleLoad(ForesailError):  # noqa: N818
    """No load sample for so long that no answer is better than a guess."""


class Unauthenticated(ForesailError):  # noqa: N818
    """No token or client certificate, or a wrong one."""


class NotAllowed(ForesailError):  # noqa: N818
    """These settings allow it nobody."""


class StoreError(ForesailError):
    """A file under var that cannot be used."""


class SourceError(ForesailError):
    """A load source that could not be read."""


class ClusterError(ForesailError):
    """The Kubernetes API could not be asked, or refused."""

    def __init__(self, message: str, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status, 0 where there was no answer."""
        self.retry_after_s = retry_after_s
        """What the server asked to wait."""


class Gone(ClusterError):  # noqa: N818
    """A watch that cannot go on from where it was."""


class FitFailed(ForesailError):  # noqa: N818
    """A fit that died or took too long; the model in use stays."""


class SettingsError(ForesailError):
    """Settings that cannot be understood."""
