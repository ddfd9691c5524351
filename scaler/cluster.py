"""The door to the Kubernetes API: requests, lists and watches as plain JSON, each with a deadline.

Objects stay what the server sent: one process follows thousands of them, and models of them cost ten times the time.
"""

import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from scaler.errors import ClusterError, Gone, SettingsError

Object = dict[str, Any]
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and its namespace."""
PAGE = 100
"""Objects per request of a list: parsing a page must not hold up requests for long."""
REQUEST_S = 15.0
"""Time that any request but a watch may take."""
WATCH_S = (300, 600)
"""Range of a watch's length: spread, so that watches do not all begin anew at once (as client-go does)."""
QUIET_S = 180.0
"""Without a word for so long a watch is begun anew: bookmarks come about every minute."""
OPENED: Object = {"type": "OPENED", "object": {}}
"""What comes before a watch's events: the server was there."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, as the API names it."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
        """Path of the collection, of one object or of a part of it."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        parts += [] if namespace is None else ["namespaces", quote(namespace, safe="")]
        parts += [self.plural, *(quote(part, safe="") for part in (name, sub) if part is not None)]
        return "/" + "/".join(parts)


SCALED_OBJECTS = Resource("keda.sh", "v1alpha1", "scaledobjects")
HPAS = Resource("autoscaling", "v2", "horizontalpodautoscalers")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets")
PODS = Resource("", "v1", "pods")
EVENTS = Resource("", "v1", "events")
CONFIG_MAPS = Resource("", "v1", "configmaps")
LEASES = Resource("coordination.k8s.io", "v1", "leases")

FOLLOWED = (SCALED_OBJECTS, HPAS, DEPLOYMENTS, STATEFUL_SETS, PODS)
"""Listed and watched in all namespaces."""
API_USE = frozenset(
    {
        *((kind.group, kind.plural, verb) for kind in FOLLOWED for verb in ("list", "watch")),
        ("*", "*/scale", "get"),
        ("", "events", "create"),
        *((kind.group, kind.plural, verb) for kind in (CONFIG_MAPS, LEASES) for verb in ("get", "create", "update")),
    }
)
"""Group, resource and verb of all that the service asks; the manifests grant this and nothing else."""


class KubernetesApi:
    """A connection to one API server."""

    def __init__(self, configuration: Configuration, namespace: str) -> None:
        configuration.retries = False
        self._client = ApiClient(configuration)
        self.namespace = namespace
        """Where the service itself lives: its Lease and its ConfigMap."""
        self.requests: dict[tuple[str, str], int] = {}
        """Requests sent, by resource and verb."""

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def pages(self, resource: Resource) -> AsyncIterator[tuple[list[Object], str]]:
        """All objects, page by page, each with the version that a watch goes on from. Raises ClusterError.

        Whoever reads a page keeps what is needed of it: thousands of pods as they are would take hundreds of MB.
        """
        query = {"limit": str(PAGE)}
        while True:
            page = await self._json("list", resource, resource.path(), query)
            metadata = page.get("metadata") or {}
            yield page.get("items") or [], str(metadata.get("resourceVersion", ""))
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def watch(self, resource: Resource, version: str) -> AsyncIterator[Object]:
        """Events since `version`, until the server ends the watch.

        Raises:
            Gone: the server does not know that version any more, or sent what cannot be understood.
            ClusterError: the connection broke, or the server refused.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(random.randint(*WATCH_S)),  # noqa: S311 - spreads load, guards nothing
        }
        patience = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S, sock_read=QUIET_S)
        response = await self._send("watch", resource, f"{resource.path()}?{urlencode(query)}", None, patience)
        yield OPENED
        try:
            while line := await response.content.readline():
                yield _event(resource, line)
        except TimeoutError:
            return  # a server without bookmarks may have nothing to say: the next watch hears whether it is there
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterError(f"watching {resource.plural}: {error!r}") from error
        except ValueError as error:
            raise Gone(f"watching {resource.plural}: not understood: {error}", 410) from error
        finally:
            response.close()

    async def get(self, resource: Resource, namespace: str, name: str, sub: str | None = None) -> Object:
        """One object, or its `sub`resource. Raises ClusterError."""
        return await self._json("get", resource, resource.path(namespace, name, sub))

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Create an object. Raises ClusterError, of status 409 where it exists."""
        return await self._json("create", resource, resource.path(namespace), body=body)

    async def update(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Replace an object. Raises ClusterError, of status 409 where it has changed since it was read."""
        return await self._json("update", resource, resource.path(namespace, name), body=body)

    async def patch(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Merge `body` into an object (RFC 7386). Raises ClusterError."""
        return await self._json("patch", resource, resource.path(namespace, name), body=body)

    async def _json(
        self,
        verb: str,
        resource: Resource,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> Object:
        url = f"{path}?{urlencode(query)}" if query else path
        response = await self._send(verb, resource, url, body, aiohttp.ClientTimeout(total=REQUEST_S))
        try:
            found = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ClusterError(f"{verb} {resource.plural}: {error!r}") from error
        finally:
            response.release()
        if not isinstance(found, dict):
            raise ClusterError(f"{verb} {resource.plural}: the answer is no object")
        return found

    async def _send(
        self, verb: str, resource: Resource, url: str, body: Object | None, patience: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        asked = (resource.plural, verb)
        self.requests[asked] = self.requests.get(asked, 0) + 1
        headers = {"Accept": "application/json"}
        if verb == "patch":
            headers["Content-Type"] = "application/merge-patch+json"
        try:
            method, whole, headers, sent, _ = await self._client.param_serialize(
                METHODS[verb], url, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            answer = await self._client.call_api(method, whole, headers, sent, _request_timeout=patience)
        except (aiohttp.ClientError, TimeoutError, OSError, config.ConfigException) as error:
            raise ClusterError(f"{verb} {resource.plural}: {error!r}") from error
        response: aiohttp.ClientResponse = answer.response
        if response.status >= 300:
            raise await _refusal(verb, resource, response)
        return response


METHODS = {"list": "GET", "watch": "GET", "get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}


def _event(resource: Resource, line: bytes) -> Object:
    """One event of a watch. Raises ValueError where it is none, Gone or ClusterError where it says that it ends."""
    if not line.endswith(b"\n"):
        raise ClusterError(f"watching {resource.plural}: cut in the middle of an event")
    event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        raise ValueError(f"no event: {line[:80]!r}")  # noqa: TRY004 - as the JSON that is none
    if event.get("type") == "ERROR":
        status = event["object"].get("code")
        kind = Gone if status == 410 else ClusterError
        raise kind(f"watching {resource.plural}: {event['object'].get('message', status)}", int(status or 0))
    return event


async def _refusal(verb: str, resource: Resource, response: aiohttp.ClientResponse) -> ClusterError:
    try:
        said = str(json.loads(await response.read()).get("message") or response.reason)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, AttributeError):
        said = str(response.reason)
    finally:
        response.release()
    kind = Gone if response.status == 410 else ClusterError
    wait = response.headers.get("Retry-After", "")
    message = f"{verb} {resource.plural}: {response.status} {said[:200]}"
    return kind(message, response.status, float(wait) if wait.isdigit() else 0.0)


async def connect(kubeconfig: Path | None) -> KubernetesApi | None:
    """Connection by a kubeconfig's current context, else by the pod's own account; None where there is neither.

    Raises:
        SettingsError: a kubeconfig or an account that cannot be used.
    """
    configuration = Configuration()
    try:
        if kubeconfig is not None:
            await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
            _, current = config.list_kube_config_contexts(str(kubeconfig))
            return KubernetesApi(configuration, (current["context"].get("namespace")) or "default")
        if not (ACCOUNT / "token").exists():
            return None
        config.load_incluster_config(configuration)
        return KubernetesApi(configuration, (ACCOUNT / "namespace").read_text().strip())
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"the Kubernetes API cannot be reached as configured: {error}") from error
