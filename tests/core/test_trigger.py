"""Every key of DESIGN.md §2, and what bad metadata get."""

import pytest

from scaler.core.domain import Kind, Workload, columns_of
from scaler.core.signals import Signal
from scaler.core.trigger import INACTIVE_KEYS, KEDA_KEYS, KEYS, REFUSED_KEYS, duration_s, parse_workload
from scaler.errors import TriggerError


def parsed(**metadata: str) -> Workload:
    return parse_workload({"threshold": "50", **metadata}, name="web", namespace="shop")


def complaint(**metadata: str) -> str:
    with pytest.raises(TriggerError) as refused:
        parsed(**metadata)
    return str(refused.value)


def test_a_threshold_is_enough():
    workload = parsed()
    assert (workload.namespace, workload.name) == ("shop", "web")
    assert workload.threshold == 50.0
    assert workload.capacity is None
    assert workload.kind is Kind.RATE
    assert (workload.step_s, workload.metric_lag_s, workload.lead_s) == (15.0, 0.0, 120.0)
    assert not workload.shadow
    assert workload.inactive == ()


@pytest.mark.parametrize(
    ("key", "text", "field", "value"),
    [
        ("threshold", "12.5", "threshold", 12.5),
        ("capacity", "80", "capacity", 80.0),
        ("capacity", "auto", "capacity", None),
        ("kind", "rate", "kind", Kind.RATE),
        ("kind", "queue", "kind", Kind.QUEUE),
        ("serverAddress", "http://prometheus:9090", "server_address", "http://prometheus:9090"),
        ("query", "sum(rate(x[1m]))", "query", "sum(rate(x[1m]))"),
        ("arrivalQuery", "sum(rate(y[1m]))", "arrival_query", "sum(rate(y[1m]))"),
        ("timeout", "3s", "timeout_s", 3.0),
        ("timeout", "1500", "timeout_s", 1.5),
        ("activationThreshold", "0.5", "activation_threshold", 0.5),
        ("activationThreshold", "0", "activation_threshold", 0.0),
        ("slo", "0.99", "slo", 0.99),
        ("shadow", "true", "shadow", True),
        ("shadow", "False", "shadow", False),
        ("observeOnly", "true", "observe_only", True),
        ("maxReplicaHoursPerDay", "100", "max_replica_hours_per_day", 100.0),
        ("leadTime", "90s", "lead_s", 90.0),
        ("leadTime", "0s", "lead_s", 0.0),
        ("minReplicas", "0", "min_replicas", 0),
        ("minReplicas", "2", "min_replicas", 2),
        ("maxReplicas", "40", "max_replicas", 40),
        ("step", "30s", "step_s", 30.0),
        ("step", "5m", "step_s", 300.0),
        ("metricLag", "20", "metric_lag_s", 20.0),
        ("latencyTarget", "500ms", "latency_target_s", 0.5),
        ("tolerance", "0", "tolerance", 0.0),
        ("tolerance", "0.05", "tolerance", 0.05),
    ],
)
def test_every_key_is_understood(key, text, field, value):
    assert getattr(parsed(**{key: text}), field) == value


def test_white_space_around_a_value_does_not_count():
    assert parsed(capacity=" 80 ").capacity == 80.0


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_may_come_from_the_environment(key):
    right = {
        "kind": "queue",
        "step": "30s",
        "shadow": "true",
        "observeOnly": "true",
        "slo": "0.95",
        "tolerance": "0.2",
        "namespace": "shop",
        "timezone": "UTC",
    }
    plain = {"threshold": "50", key: right.get(key, "60")}
    from_env = {"threshold": "50"} | {f"{key}FromEnv": right.get(key, "60")}
    if key == "threshold":
        del from_env["threshold"]
    assert parse_workload(from_env, name="web", namespace="shop") == parse_workload(plain, name="web", namespace="shop")


def test_a_key_given_both_ways_is_refused():
    assert (
        complaint(capacity="80", capacityFromEnv="90") == "capacity is given twice: as capacity and as capacityFromEnv"
    )


@pytest.mark.parametrize(
    ("key", "bad", "right"),
    [
        ("threshold", ["0", "-1", "nan", "inf", "-inf", "many", "", "1e-9", "1e300"], "a positive number"),
        ("capacity", ["0", "-5", "NaN", "Infinity", "full", "1e-300"], 'a positive number (0.001 to 1e15) or "auto"'),
        ("kind", ["Rate", "stream", ""], '"rate" or "queue"'),
        ("activationThreshold", ["-1", "nan", "x"], "zero or a positive number"),
        ("slo", ["99", "0", "1", "-0.9", "nan", "99%"], "a share of load between 0.5 and 0.9999, such as 0.99"),
        ("shadow", ["yes", "1", ""], '"true" or "false"'),
        ("leadTime", ["-5s", "fast", "90 s", "7h", "1w", "", "nan"], "a duration of at most 6h, such as 90s or 5m"),
        ("minReplicas", ["-1", "1.5", "nan", "1e9", "two"], "a whole number between 0 and 100000"),
        ("maxReplicas", ["-1", "2.5", "inf", "200000"], "a whole number between 0 and 100000"),
        ("step", ["0s", "7s", "90s", "0.5s", "2h"], "divide a minute or be whole minutes up to an hour"),
        ("metricLag", ["-1", "late"], "a duration of at most 6h"),
        ("latencyTarget", ["slow"], "a duration of at most 6h"),
        ("tolerance", ["-0.1", "1", "10%", "nan"], "a share between 0 and 0.9, such as 0.1"),
        ("maxReplicaHoursPerDay", ["0", "-1", "x"], "a positive number"),
        ("timeout", ["0", "10m", "0s"], "more than 0 and at most 5m"),
        ("timeout", ["-1", "soon"], "a duration of at most 6h"),
        ("ignoreNullValues", ["maybe"], '"true" or "false"'),
    ],
)
def test_a_bad_value_is_refused_with_its_key_itself_and_what_would_be_right(key, bad, right):
    for text in bad:
        message = complaint(**{key: text})
        assert message.startswith(f"{key} must ")
        assert right in message
        assert repr(text) in message


@pytest.mark.parametrize("key", ["query", "serverAddress", "arrivalQuery", "name", "calendar", "cpuQuery"])
def test_an_empty_text_is_refused(key):
    assert complaint(**{key: "  "}) == f"{key} must not be empty"


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("treshold", "threshold"),
        ("Threshold", "threshold"),
        ("treshhold", "threshold"),
        ("capcity", "capacity"),
        ("leadtime", "leadTime"),
        ("lead_time", "leadTime"),
        ("minReplica", "minReplicas"),
        ("max_replicas", "maxReplicas"),
        ("MAXREPLICAS", "maxReplicas"),
        ("activationTreshold", "activationThreshold"),
        ("latency_target", "latencyTarget"),
        ("Query", "query"),
        ("timeZone", "timezone"),
    ],
)
def test_a_mistyped_key_is_refused_with_the_likely_one(typo, meant):
    assert complaint(**{typo: "5"}) == f"unknown key {typo!r}: did you mean {meant!r}?"


def test_a_key_like_no_other_is_refused_with_all_that_are_known():
    message = complaint(zzz="1")
    assert message.startswith("unknown key 'zzz': known are ")
    assert all(key in message for key in [*KEYS, *INACTIVE_KEYS])


@pytest.mark.parametrize("key", sorted(KEDA_KEYS))
def test_kedas_own_keys_pass_by(key):
    assert parsed(**{key: "anything"}) == parsed()
    assert parsed(**{f"{key}FromEnv": "anything"}) == parsed()


@pytest.mark.parametrize("key", sorted(REFUSED_KEYS))
def test_credentials_in_metadata_are_refused_without_repeating_them(key):
    message = complaint(**{key: "hunter2"})
    assert message == f"{key} is refused in metadata: set it for the server in Foresail's settings"
    assert complaint(**{f"{key}FromEnv": "hunter2"}) == message


def test_missing_data_are_never_taken_for_zero_load():
    assert "never takes missing data for zero load" in complaint(ignoreNullValues="true")
    assert parsed(ignoreNullValues="false") == parsed()


def test_keys_whose_feature_comes_later_are_said_to_be_inactive():
    assert parsed(metricName="load").inactive == ("metricName",)


def test_each_signal_has_its_query():
    keys = ("query", "arrivalQuery", "replicasQuery", "cpuQuery", "memoryQuery", "latencyQuery", "queueQuery")
    workload = parsed(**{key: f"of {key}" for key in keys})
    assert [workload.query_of(signal) for signal in Signal] == [f"of {key}" for key in keys]
    assert workload.inactive == ()
    assert [parsed().query_of(signal) for signal in Signal] == [None] * len(keys)


def test_a_capacity_of_auto_is_learnt_and_stands_at_the_threshold_until_then():
    workload = parsed(threshold="50", capacity="auto")
    assert (workload.capacity, workload.capacity_auto) == (None, True)
    columns = columns_of([workload, parsed(threshold="50", capacity="70")])
    assert columns.capacity.tolist() == [50.0, 70.0]
    assert columns.capacity_auto.tolist() == [True, False]


def test_a_threshold_is_required():
    with pytest.raises(TriggerError, match="threshold is required"):
        parse_workload({"capacity": "5"}, name="web", namespace="shop")


def test_a_name_is_required_where_there_is_no_scaled_object():
    with pytest.raises(TriggerError, match="name is required"):
        parse_workload({"threshold": "5"})
    declared = parse_workload({"threshold": "5", "name": "web"})
    assert (declared.namespace, declared.name) == ("default", "web")


def test_a_trigger_cannot_speak_for_another_namespace():
    assert complaint(namespace="bank") == (
        "namespace must be left out or be that of the ScaledObject, 'shop', not 'bank'"
    )
    assert parsed(namespace="shop").namespace == "shop"


@pytest.mark.parametrize(("low", "high"), [("5", "3"), ("1", "0"), ("0", "0")])
def test_bounds_that_contradict_are_refused(low, high):
    assert complaint(minReplicas=low, maxReplicas=high).startswith("minReplicas must not exceed maxReplicas")


def test_a_stated_lead_time_is_told_from_the_default():
    assert parsed(leadTime="120s").lead_s == 120.0
    assert parsed(leadTime="120s").lead_s == parsed().lead_s


@pytest.mark.parametrize(
    "changed",
    [{"query": "b"}, {"serverAddress": "b"}, {"arrivalQuery": "b"}, {"kind": "queue"}, {"step": "30s"}, {"name": "b"}],
)
def test_what_is_measured_identifies_a_trigger(changed):
    assert parsed(query="a").fingerprint != parsed(**{"query": "a"} | changed).fingerprint


@pytest.mark.parametrize(
    "changed", [{"threshold": "9"}, {"capacity": "9"}, {"slo": "0.9"}, {"shadow": "true"}, {"leadTime": "9s"}]
)
def test_how_it_is_served_does_not(changed):
    assert parsed(query="a").fingerprint == parsed(**{"query": "a"} | changed).fingerprint


def test_a_default_that_is_stated_leaves_the_identity_as_it_is():
    assert parsed(kind="rate", step="15s").fingerprint == parsed().fingerprint


def test_the_identity_is_eight_hex_digits_and_stays():
    # Pinned: snapshots and cutoff phases hang on it.
    assert parsed(query="a").fingerprint == "8cc9a70d"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("2d", 172_800), ("45", 45), ("1.5m", 90)],
)
def test_durations(text, seconds):
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["s", "5 m", "-5s", "5x", "m5", "1h 30m", "1e3s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match=text):
        duration_s(text)


def test_the_lead_window_covers_lead_lag_and_sync_in_whole_steps():
    stated = [
        parsed(leadTime="90s"),  # 105 s in 15 s
        parsed(leadTime="91s"),
        parsed(leadTime="90s", metricLag="15s"),
        parsed(leadTime="0s"),
        parsed(leadTime="300s", step="5m"),  # 315 s in 300 s
    ]
    assert columns_of(stated).h.tolist() == [7, 8, 8, 1, 2]


def test_capacity_is_the_threshold_unless_stated_and_unknown_only_for_queues():
    columns = columns_of([parsed(), parsed(capacity="80"), parsed(kind="queue"), parsed(kind="queue", capacity="7")])
    assert columns.capacity.tolist() == [50.0, 80.0, 50.0, 7.0]
    assert columns.capacity_known.tolist() == [True, True, False, True]


def test_a_time_zone_is_an_iana_name():
    known = parsed(timezone="America/New_York", calendar="sales")
    assert (known.timezone, known.calendar, known.inactive) == ("America/New_York", "sales", ())
    assert parsed().timezone == "UTC"
    for wrong in ("Mars/Olympus", "../etc/passwd", "CET+1", "/etc/localtime", "Europe"):
        with pytest.raises(TriggerError, match=r"timezone must be an IANA time zone such as Europe/Berlin, not '"):
            parsed(timezone=wrong)
