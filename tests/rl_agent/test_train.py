"""Training solves a small world, goes on where it was stopped, and starts from holding."""

from dataclasses import dataclass

import numpy as np
import pytest

from rl_agent.environment import BoolArray, FloatArray, IntArray

torch = pytest.importorskip("torch", reason="torch trains the agent; nothing else needs it")

from rl_agent.errors import CheckpointError  # noqa: E402
from rl_agent.network import ActorCritic  # noqa: E402
from rl_agent.ppo import PpoConfig  # noqa: E402
from rl_agent.train import Progress, agent_of, train  # noqa: E402


@dataclass
class Walk:
    """Where B walkers stand, how many steps they have taken, and where they are wanted."""

    at: FloatArray
    step: int
    wanted: FloatArray


class Corridor:
    """Walk to a goal that is seen, and stay there: action 0 stays, 1 goes left, 2 goes right."""

    n, length, n_actions = 64, 40, 3

    def initial(self, rng: np.random.Generator) -> Walk:
        return Walk(rng.uniform(-2.0, 2.0, self.n), 0, rng.uniform(-2.0, 2.0, self.n))

    def observe(self, state: Walk) -> FloatArray:
        return np.stack([state.at, state.wanted], axis=1)

    def hidden(self, state: Walk) -> FloatArray:
        return np.full((self.n, 1), state.step / self.length)

    def advance(self, state: Walk, action: IntArray, rng: np.random.Generator) -> tuple[Walk, FloatArray, BoolArray]:
        at = state.at + np.array([0.0, -0.25, 0.25])[action] + 0.02 * rng.standard_normal(self.n)
        after = Walk(at, state.step + 1, state.wanted)
        return after, -np.abs(at - state.wanted), np.full(self.n, after.step >= self.length)


SHORT = PpoConfig(rollout=40, minibatch=640, epochs=6, learning_rate=3e-3, discount=0.9, layers=(32, 32))


def trained(episodes: int, checkpoint: dict[str, FloatArray] | None = None) -> list[Progress]:
    return list(train(Corridor(), 0, episodes, SHORT, checkpoint))


def distance(progress: Progress, rng: np.random.Generator) -> float:
    """Mean distance from the goal over the second half of an episode of what would be served."""
    world, agent = Corridor(), agent_of(progress.checkpoint)
    state, far = world.initial(rng), []
    for _ in range(world.length):
        state, reward, _ = world.advance(state, agent.act(world.observe(state)), rng)
        far.append(-reward.mean())
    return float(np.mean(far[world.length // 2 :]))


def test_a_short_run_solves_the_corridor() -> None:
    torch.set_num_threads(1)
    progress = trained(40)
    assert distance(progress[0], np.random.default_rng(1)) > 0.7
    assert distance(progress[-1], np.random.default_rng(1)) < 0.3
    assert progress[-1].steps == 40 * 40 * 64


def test_a_run_that_goes_on_comes_to_the_same_numbers() -> None:
    whole = trained(4)
    config = SHORT
    first = next(iter(train(Corridor(), 0, 4, config)))
    rest = list(train(Corridor(), 0, 4, config, first.checkpoint))
    assert [one.episode for one in rest] == [2, 3, 4]
    for name, array in whole[-1].checkpoint.items():
        assert np.array_equal(array, rest[-1].checkpoint[name]), name


def test_a_checkpoint_of_another_network_is_refused() -> None:
    kept = dict(trained(1)[0].checkpoint)
    del kept["actor.0.weight"]
    with pytest.raises(CheckpointError, match=r"actor\.0\.weight"):
        trained(2, kept)


def test_an_untrained_agent_holds_four_times_in_five_whatever_it_sees() -> None:
    network = ActorCritic((5, 2, 9), (16,), hold=0.8)
    logits, _ = network(torch.randn(7, 5), torch.randn(7, 2))
    odds = torch.softmax(logits, dim=-1)
    assert odds[:, 0].tolist() == pytest.approx([0.8] * 7)
    assert odds[:, 1:].flatten().tolist() == pytest.approx([0.025] * 56)
