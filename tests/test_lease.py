"""One replica is elected, another takes over, and nobody needs the right time."""

from pathlib import Path

from scaler.lease import LENGTH_S, NAME, Election
from tests.fake_kubernetes import serving
from tests.test_reflector import connected


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def test_one_of_two_is_elected_and_renews(tmp_path: Path) -> None:
    clock = Clock()
    async with serving() as fake, connected(fake, tmp_path) as api:
        first, second = Election(api, "first", clock), Election(api, "second", clock)
        for _ in range(10):
            await first.step()
            await second.step()
            assert (first.elected, second.elected) == (True, False)
            clock.now_s += 20.0
        assert fake.objects["leases"]["foresail", NAME]["spec"]["leaseTransitions"] == 0


async def test_a_dead_holder_is_followed_after_the_leases_length_by_the_own_clock(tmp_path: Path) -> None:
    clock = Clock()
    async with serving() as fake, connected(fake, tmp_path) as api:
        first, second = Election(api, "first", clock), Election(api, "second", clock)
        await first.step()
        waited_s = 0.0
        while not second.elected:
            await second.step()
            clock.now_s += 20.0
            waited_s += 20.0
        assert LENGTH_S <= waited_s <= LENGTH_S + 40.0
        assert not first.elected
        await first.step()
        assert not first.elected


async def test_what_cannot_be_renewed_ends_by_itself_before_another_may_take_it(tmp_path: Path) -> None:
    clock = Clock()
    async with serving() as fake, connected(fake, tmp_path) as api:
        first = Election(api, "first", clock)
        await first.step()
        fake.forbidden.add("leases")
        clock.now_s += 59.0
        await first.step()
        assert first.elected
        assert first.trouble is not None
        assert "403" in first.trouble
        clock.now_s += 1.0
        assert not first.elected


async def test_of_two_that_try_at_once_one_gets_a_conflict_and_waits(tmp_path: Path) -> None:
    clock = Clock()
    async with serving() as fake, connected(fake, tmp_path) as api:
        first, second, third = (Election(api, name, clock) for name in ("first", "second", "third"))
        read = api.get

        async def overtaken(*asked, **options):
            found = await read(*asked, **options)
            api.get = read
            await third.step()
            return found

        await first.step()
        await second.step()
        await third.step()
        clock.now_s += 2 * LENGTH_S
        api.get = overtaken
        await second.step()
        assert (second.elected, third.elected) == (False, True)
        assert second.trouble is None
        await first.step()  # writes what it wrote before, and is told that somebody else did
        assert (first.elected, first.trouble) == (False, None)


async def test_a_replica_that_ends_gives_the_lease_back(tmp_path: Path) -> None:
    clock = Clock()
    async with serving() as fake, connected(fake, tmp_path) as api:
        first, second = Election(api, "first", clock), Election(api, "second", clock)
        await first.step()
        await first._give_back()
        await second.step()
        assert (first.elected, second.elected) == (False, True)
