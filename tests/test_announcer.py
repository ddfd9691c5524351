"""Events: once per fact, never a flood."""

from pathlib import Path

from scaler.announcer import AGAIN_S, BURST, Announcer, Fact
from scaler.kinds import scaled_of
from scaler.roster import Key
from tests.fake_kubernetes import scaled_object, serving
from tests.test_lease import Clock
from tests.test_reflector import connected

WEB, SCALED = Key("shop", "web", "0"), scaled_of(scaled_object("web"))
FACT = Fact("PeakAboveMaximum", "forecast peak needs 140 replicas, maximum is 100")


async def test_an_event_stands_on_the_scaled_object(tmp_path: Path) -> None:
    async with serving() as fake, connected(fake, tmp_path) as api:
        await Announcer(api).tell(WEB, SCALED, FACT)
        (event,) = fake.objects["events"].values()
        assert event["involvedObject"]["uid"] == "uid-web"
        assert (event["reason"], event["type"], event["message"]) == (FACT.reason, "Warning", FACT.message)


async def test_the_same_fact_is_told_once_an_hour(tmp_path: Path) -> None:
    clock = Clock()
    async with serving() as fake, connected(fake, tmp_path) as api:
        announcer = Announcer(api, clock)
        for _ in range(241):
            await announcer.tell(WEB, SCALED, FACT)
            clock.now_s += 15.0
        assert clock.now_s - 1000.0 > AGAIN_S
        assert len(fake.objects["events"]) == 2


async def test_a_fact_whose_numbers_flutter_is_told_every_ten_minutes_at_most(tmp_path: Path) -> None:
    clock = Clock()
    async with serving() as fake, connected(fake, tmp_path) as api:
        announcer = Announcer(api, clock)
        for number in range(240):
            await announcer.tell(WEB, SCALED, Fact("PeakAboveMaximum", f"needs {number}"))
            clock.now_s += 15.0
        assert len(fake.objects["events"]) == 6


async def test_a_thousand_facts_at_once_are_a_trickle_and_none_is_lost_for_good(tmp_path: Path) -> None:
    clock = Clock()
    async with serving() as fake, connected(fake, tmp_path) as api:
        announcer = Announcer(api, clock)
        keys = [Key("shop", f"w{number}", "0") for number in range(100)]
        for key in keys:
            await announcer.tell(key, SCALED, FACT)
        assert len(fake.objects["events"]) == BURST
        assert announcer.held_back == 80
        for _ in range(80):
            clock.now_s += 15.0
            for key in keys:
                await announcer.tell(key, SCALED, FACT)
        assert len(fake.objects["events"]) == 100


async def test_without_the_right_it_says_so_and_goes_on(tmp_path: Path) -> None:
    async with serving() as fake, connected(fake, tmp_path) as api:
        fake.forbidden.add("events")
        announcer = Announcer(api)
        await announcer.tell(WEB, SCALED, FACT)
        assert announcer.trouble is not None
        assert "403" in announcer.trouble
