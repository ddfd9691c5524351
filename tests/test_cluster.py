"""The door to the API: by a pod's own account over TLS, with a token that changes; not at all without one."""

import ssl
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.config import incluster_config

from scaler import cluster
from scaler.cluster import PODS, KubernetesApi, connect
from scaler.errors import ClusterError, SettingsError
from tests.certificates import Authority
from tests.fake_kubernetes import FakeKubernetes, serving
from tests.test_reflector import connected


def account(fake: FakeKubernetes, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The files and variables of a pod; the server speaks TLS."""
    authority = Authority()
    certificate, key = authority.sign("kubernetes").write(folder, "server")
    fake.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    fake.tls.load_cert_chain(certificate, key)
    (folder / "ca.crt").write_bytes(authority.pem)
    (folder / "token").write_text("first")
    (folder / "namespace").write_text("foresail\n")
    patch.setattr(cluster, "ACCOUNT", folder)
    patch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
    patch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    patch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")


async def listed(api: KubernetesApi) -> list[Any]:
    return [item async for items, _ in api.pages(PODS) for item in items]


async def test_a_pod_connects_by_its_own_account_and_follows_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeKubernetes()
    account(fake, tmp_path, monkeypatch)
    async with serving(fake):
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(fake.port))
        api = await connect(None)
        assert api is not None
        try:
            assert api.namespace == "foresail"
            assert await listed(api) == []
            (tmp_path / "token").write_text("second")
            loader = api._client.configuration.refresh_api_key_hook.__closure__
            assert loader is not None
            expires = next(cell.cell_contents for cell in loader if hasattr(cell.cell_contents, "token_expires_at"))
            expires.token_expires_at = datetime.now()  # noqa: DTZ005 - as the client keeps it
            assert await listed(api) == []
        finally:
            await api.close()
    assert [str(shown).lower() for shown in fake.authorizations] == ["bearer first", "bearer second"]


async def test_a_server_of_another_authority_is_not_spoken_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeKubernetes()
    account(fake, tmp_path, monkeypatch)
    (tmp_path / "ca.crt").write_bytes(Authority("another").pem)
    async with serving(fake):
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(fake.port))
        api = await connect(None)
        assert api is not None
        try:
            with pytest.raises(ClusterError, match="CERTIFICATE_VERIFY_FAILED"):
                await listed(api)
        finally:
            await api.close()
    assert fake.authorizations == []


async def test_without_an_account_there_is_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ACCOUNT", tmp_path)
    assert await connect(None) is None


@pytest.mark.parametrize("content", [None, "", "{", "contexts: []", "current-context: gone\ncontexts: []"])
async def test_a_kubeconfig_that_cannot_be_used_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match="cannot be reached as configured"):
        await connect(path)


async def test_a_server_that_is_not_there_and_an_answer_that_is_none_are_errors_with_a_name(tmp_path: Path) -> None:
    async with serving() as fake, connected(fake, tmp_path) as api:
        await fake.stop()
        with pytest.raises(ClusterError, match="list pods"):
            await listed(api)
        await fake.start()
        with pytest.raises(ClusterError, match="get pods: 404 not found") as refused:
            await api.get(PODS, "shop", "none")
        assert refused.value.status == 404
