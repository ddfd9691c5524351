"""Who may ask which server: by parts of the URL, by namespace, and never by what a trigger says of itself."""

import re

import pytest
from pydantic import ValidationError

from scaler.core.trigger import parse_workload
from scaler.errors import TriggerError
from scaler.servers import Server, allowed, server_for


def server(url: str = "http://prometheus:9090", *namespaces: str, **fields) -> Server:
    return Server(url=url, namespaces=namespaces or ("shop",), **fields)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://prometheus:9090", "http://prometheus:9090"),
        ("http://prometheus:9090", "http://prometheus:9090/"),
        ("http://prometheus:9090/", "http://prometheus:9090"),
        ("http://prometheus", "http://PROMETHEUS:80"),
        ("https://mimir/prometheus", "https://mimir:443/prometheus"),
        ("http://vm:8481/select", "http://vm:8481/select/0/prometheus"),
    ],
)
def test_an_address_at_or_below_the_url_is_covered(url, address):
    assert server(url).covers(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://prometheus:9090/a",
        "http://prometheus:9091/a",
        "http://prometheus/a",
        "http://prometheus:9090",
        "http://prometheus:9090/ab",
        "http://prometheus:9090.evil.example/a",
        "http://prometheus:9090@evil.example/a",
        "http://user@prometheus:9090/a",
        "http://prometheus:9090/a/../b",
        "http://prometheus:9090/a/..",
        "http://prometheus:9090/a/./b",
        "http://prometheus:9090/a//b",
        "http://prometheus:9090/a/%2e%2e/b",
        "http://prometheus:9090/a\\..\\b",
        "http://prometheus:9090/a?query=up",
        "http://prometheus:9090/a#b",
        "http://prometheus:9090/a b",
        "http://prometheus:9090/a\n",
        "http://pro\u200bmetheus:9090/a",
        "http://prometheus:0/a",
        "http://prometheus:port/a",
        "http://[::1/a",
        "file:///a",
        "prometheus:9090/a",
        "",
    ],
)
def test_any_other_address_is_not(address):
    assert not server("http://prometheus:9090/a").covers(address)


def test_an_address_is_refused_with_itself_the_namespace_and_what_may_be_used():
    with pytest.raises(TriggerError, match=r"'http://other'.*namespace 'shop' may use http://prometheus:9090"):
        server_for([server(), server("http://secret:9090", "ops")], "shop", "http://other")


def test_a_namespace_that_may_not_use_a_server_is_refused():
    with pytest.raises(TriggerError, match="'http://prometheus:9090' is not allowed for namespace 'web'"):
        server_for([server()], "web", "http://prometheus:9090")


def test_tenants_of_one_url_are_told_apart_by_namespace_and_the_longest_url_wins():
    a, b = server("http://mimir", "a", headers={"X-Scope-OrgID": "a"}), server("http://mimir", "b")
    narrow = server("http://mimir/inner", "a")
    servers = [a, b, narrow]
    assert server_for(servers, "a", "http://mimir") is a
    assert server_for(servers, "b", "http://mimir/inner") is b
    assert server_for(servers, "a", "http://mimir/inner/x") is narrow


def test_all_namespaces_have_to_be_written():
    assert server("http://p", "*").serves("anything")
    for namespaces in ([], ["team-*"], [""]):
        with pytest.raises(ValidationError, match="namespaces"):
            Server(url="http://p", namespaces=namespaces)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"url": "prometheus:9090"}, "must be http:// or https:// with a host"),
        ({"url": "http://user:secret@p"}, "must be http:// or https:// with a host"),
        ({"url": "http://p/?tenant=a"}, "must be http:// or https:// with a host"),
        ({"username": "u"}, "username and password_file belong together"),
        ({"password_file": "p"}, "username and password_file belong together"),
        ({"bearer_token_file": "t", "username": "u", "password_file": "p"}, "exclude each other"),
        ({"bearer_token_file": "t", "headers": {"authorization": "x"}}, "exclude each other"),
        ({"url": "https://p", "cert_file": "c"}, "cert_file and key_file belong together"),
        ({"ca_file": "c"}, "need an https:// url"),
        ({"insecure_skip_verify": True}, "need an https:// url"),
        ({"url": "https://p", "ca_file": "c", "insecure_skip_verify": True}, "exclude each other"),
        ({"headers": {"X Y": "1"}}, "no name of a header"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "X-A must be one printable line"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"token": "hunter2"}, "token"),
    ],
)
def test_a_server_that_contradicts_itself_is_refused(fields, reason):
    with pytest.raises(ValidationError, match=re.escape(reason)):
        Server(**{"url": "http://p", "namespaces": ["shop"], **fields})


def test_the_values_of_headers_do_not_show():
    assert "hunter2" not in repr(server(headers={"X-Key": "hunter2"}))


def workload(**metadata: str):
    return parse_workload({"threshold": "5", **metadata}, name="web", namespace="shop")


def test_a_workload_is_allowed_with_address_and_query_or_with_neither():
    allowed([server()], workload())
    allowed([server()], workload(serverAddress="http://prometheus:9090", query="up"))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"query": "up"}, "serverAddress is required"),
        ({"arrivalQuery": "up"}, "serverAddress is required"),
        ({"serverAddress": "http://prometheus:9090"}, "query is required"),
        ({"serverAddress": "http://elsewhere", "query": "up"}, "'http://elsewhere' is not allowed"),
    ],
)
def test_anything_else_is_refused(metadata, reason):
    with pytest.raises(TriggerError, match=reason):
        allowed([server()], workload(**metadata))
