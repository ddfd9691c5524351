"""A Kubernetes API server on loopback: lists, watches, bookmarks, 410, refusals, conflicts, cuts and restarts."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

if TYPE_CHECKING:
    from ssl import SSLContext

Object = dict[str, Any]
PATHS = {
    "scaledobjects": "/apis/keda.sh/v1alpha1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "rollouts": "/apis/argoproj.io/v1alpha1",
    "pods": "/api/v1",
    "events": "/api/v1",
    "configmaps": "/api/v1",
    "leases": "/apis/coordination.k8s.io/v1",
}


class Past(NamedTuple):
    """An event of a watch, as it was sent."""

    version: int
    type: str
    object: Object


def merged(target: Object, patch: Object) -> Object:
    """RFC 7386."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


class FakeKubernetes:
    """State, what is refused, and what was asked; `serving` opens the door."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[tuple[str, str], Object]] = {plural: {} for plural in PATHS}
        self.past: dict[str, list[Past]] = {plural: [] for plural in PATHS}
        self.oldest: dict[str, int] = dict.fromkeys(PATHS, 0)
        self.forbidden: set[str | tuple[str, str]] = set()
        self.absent: set[str] = set()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.slow_s = 0.0
        self.piece = 0
        """Bytes per write of a watch, 0: whole lines."""
        self.errors: list[tuple[int, dict[str, str]]] = []
        """Status and headers of the next answers."""
        self.watches: dict[str, list[asyncio.Queue[bytes | None]]] = {plural: [] for plural in PATHS}
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.tls: SSLContext | None = None
        self.authorizations: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, plural: str, item: Object) -> None:
        """Create or replace an object; watches are told."""
        self.version += 1
        key = item["metadata"]["namespace"], item["metadata"]["name"]
        known = key in self.objects[plural]
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self.objects[plural][key] = item
        self._tell(plural, "MODIFIED" if known else "ADDED", item)

    def delete(self, plural: str, namespace: str, name: str) -> None:
        self.version += 1
        item = self.objects[plural].pop((namespace, name))
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        self._tell(plural, "DELETED", item)

    def _tell(self, plural: str, kind: str, item: Object) -> None:
        self.past[plural].append(Past(self.version, kind, item))
        self.send(plural, kind, item)

    def send(self, plural: str, kind: str, item: Object) -> None:
        """One event to all who watch now."""
        self.send_raw(plural, json.dumps({"type": kind, "object": item}).encode() + b"\n")

    def send_raw(self, plural: str, line: bytes) -> None:
        for queue in self.watches[plural]:
            queue.put_nowait(line)

    def bookmark(self, plural: str) -> None:
        self.send(plural, "BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def compact(self, plural: str) -> None:
        """Forget the past: a watch from before gets 410."""
        self.past[plural].clear()
        self.oldest[plural] = self.version

    def end_watches(self, plural: str) -> None:
        """End them as the server does after timeoutSeconds."""
        for queue in self.watches[plural]:
            queue.put_nowait(None)

    def cut(self, plural: str, rest: bytes = b"") -> None:
        """Break the connections, after `rest`: the beginning of an event."""
        if rest:
            self.send_raw(plural, rest)
        for queue in self.watches[plural]:
            queue.put_nowait(b"\0cut")

    async def start(self) -> None:
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop as a server that is restarted: connections break."""
        for plural in PATHS:
            self.cut(plural)
        assert self._runner is not None
        await self._runner.cleanup()
        self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        prefix, namespace, plural, name, sub = self._parts(request.path)
        verb = self._verb(request, name)
        self.authorizations.append(request.headers.get("Authorization"))
        self.asked[plural if not sub else f"{plural}/{sub}", verb] += 1
        if self.errors:
            status, headers = self.errors.pop(0)
            return web.json_response({"kind": "Status", "code": status}, status=status, headers=headers)
        if plural in self.absent or PATHS.get(plural) != prefix:
            return web.json_response({"kind": "Status", "code": 404, "message": "not found"}, status=404)
        if plural in self.forbidden or (plural, verb) in self.forbidden:
            message = f'{plural} is forbidden: User "foresail" cannot {verb} resource "{plural}"'
            return web.json_response({"kind": "Status", "code": 403, "message": message}, status=403)
        if verb == "watch":
            return await self._watch(request, plural)
        await asyncio.sleep(self.slow_s)
        if verb == "list":
            return self._list(request, plural, namespace)
        return self._one(plural, (namespace, name), sub, verb, await request.json() if request.can_read_body else {})

    @staticmethod
    def _parts(path: str) -> tuple[str, str, str, str, str]:
        parts = path.strip("/").split("/")
        n = 2 if parts[0] == "api" else 3
        prefix, rest = "/" + "/".join(parts[:n]), parts[n:]
        namespace = ""
        if rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        plural, name, sub = (*rest, "", "", "")[:3]
        return prefix, namespace, plural, name, sub

    @staticmethod
    def _verb(request: web.Request, name: str) -> str:
        if request.method == "GET" and not name:
            return "watch" if request.query.get("watch") in {"1", "true"} else "list"
        return {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]

    def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        found = [item for key, item in sorted(self.objects[plural].items()) if not namespace or key[0] == namespace]
        field = request.query.get("fieldSelector", "")
        if field.startswith("metadata.name="):
            found = [item for item in found if item["metadata"]["name"] == field.partition("=")[2]]
        begin = int(request.query.get("continue", "0"))
        end = begin + int(request.query.get("limit", "100000"))
        following = {"continue": str(end)} if end < len(found) else {}
        body = {"metadata": {"resourceVersion": str(self.version), **following}, "items": found[begin:end]}
        return web.json_response(body)

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        if since < self.oldest[plural]:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            queue.put_nowait(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            queue.put_nowait(None)
        for past in self.past[plural]:
            if past.version > since:
                queue.put_nowait(json.dumps({"type": past.type, "object": past.object}).encode() + b"\n")
        self.watches[plural].append(queue)
        try:
            await self._stream(request, response, queue)
        finally:
            self.watches[plural].remove(queue)
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, queue: asyncio.Queue[bytes | None]
    ) -> None:
        while (line := await queue.get()) is not None:
            if line == b"\0cut":
                if request.transport is not None:
                    request.transport.abort()
                return
            size = self.piece or len(line)
            for begin in range(0, len(line), size):
                await response.write(line[begin : begin + size])
                await asyncio.sleep(0)

    def _one(self, plural: str, key: tuple[str, str], sub: str, verb: str, body: Object) -> web.Response:
        if verb == "create":
            key = key[0], body["metadata"].get("name") or f"{body['metadata']['generateName']}{self.version}"
        known = self.objects[plural].get(key)
        if verb == "create" and known is not None:
            return web.json_response({"kind": "Status", "code": 409, "reason": "AlreadyExists"}, status=409)
        if verb != "create" and known is None:
            return web.json_response({"kind": "Status", "code": 404, "message": "not found"}, status=404)
        if sub == "scale":
            assert known is not None
            return web.json_response({"kind": "Scale", "status": {"replicas": known["status"]["replicas"]}})
        if verb == "get":
            return web.json_response(known)
        if verb == "update":
            assert known is not None
            stated = body["metadata"].get("resourceVersion")
            if stated is not None and stated != known["metadata"]["resourceVersion"]:
                return web.json_response({"kind": "Status", "code": 409, "reason": "Conflict"}, status=409)
        if verb == "patch":
            assert known is not None
            body = merged(known, body)
        metadata = {**body["metadata"], "namespace": key[0], "name": key[1]}
        self.put(plural, {**body, "metadata": metadata})
        return web.json_response(self.objects[plural][key])


@asynccontextmanager
async def serving(fake: FakeKubernetes | None = None) -> AsyncIterator[FakeKubernetes]:
    """The server, open."""
    fake = fake or FakeKubernetes()
    await fake.start()
    try:
        yield fake
    finally:
        if fake._runner is not None:
            await fake.stop()


def scaled_object(name: str, namespace: str = "shop", **changes: Any) -> Object:
    """A ScaledObject with one external trigger."""
    item: Object = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{name}", "annotations": {}},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": 2,
            "maxReplicaCount": 50,
            "triggers": [{"type": "external", "metadata": {"threshold": "10"}}],
        },
        "status": {"hpaName": f"keda-hpa-{name}"},
    }
    return merged(item, changes)


def hpa(name: str, namespace: str = "shop", **changes: Any) -> Object:
    """The HPA that KEDA makes of it."""
    item: Object = {
        "metadata": {"namespace": namespace, "name": f"keda-hpa-{name}"},
        "spec": {"minReplicas": 2, "maxReplicas": 50},
        "status": {"currentReplicas": 4, "desiredReplicas": 4},
    }
    return merged(item, changes)


def deployment(name: str, namespace: str = "shop", replicas: int = 4, ready: int = 4) -> Object:
    """A Deployment and what it runs."""
    return {
        "metadata": {"namespace": namespace, "name": name},
        "status": {"replicas": replicas, "readyReplicas": ready},
    }
