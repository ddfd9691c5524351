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


class Errand(Corridor):
    """The same, but the goal is told at the door and never again."""

    def observe(self, state: Walk) -> FloatArray:
        told = np.full(self.n, state.step == 0)
        return np.stack([state.at, np.where(told, state.wanted, 0.0), told], axis=1)

    def hidden(self, state: Walk) -> FloatArray:
        return np.stack([state.wanted, np.full(self.n, state.step / self.length)], axis=1)


SHORT = PpoConfig(rollout=40, minibatch=640, epochs=6, learning_rate=3e-3, discount=0.9, memory=32, layers=(32, 32))


def trained(
    episodes: int, checkpoint: dict[str, FloatArray] | None = None, world: Corridor | None = None
) -> list[Progress]:
    return list(train(world or Corridor(), 0, episodes, SHORT, checkpoint))


def distance(progress: Progress, world: Corridor) -> float:
    """Mean distance from the goal over the second half of an episode of what would be served."""
    rng, agent = np.random.default_rng(1), agent_of(progress.checkpoint)
    state, memory, far = world.initial(rng), np.zeros((world.n, agent.n_memory)), []
    for _ in range(world.length):
        action, memory = agent.act(world.observe(state), memory)
        state, reward, _ = world.advance(state, action, rng)
        far.append(-reward.mean())
    return float(np.mean(far[world.length // 2 :]))


def test_a_short_run_solves_the_corridor() -> None:
    torch.set_num_threads(1)
    progress = trained(20)
    assert distance(progress[0], Corridor()) > 0.7
    assert distance(progress[-1], Corridor()) < 0.3
    assert progress[-1].steps == 20 * 40 * 64


def test_what_was_seen_once_is_remembered() -> None:
    progress = trained(30, world=Errand())
    assert distance(progress[0], Errand()) > 0.7
    assert distance(progress[-1], Errand()) < 0.4


def test_what_is_served_does_what_was_trained() -> None:
    world, progress = Corridor(), trained(2)[-1]
    network, agent = ActorCritic((2, 1, 3), SHORT.memory, SHORT.layers, SHORT.hold), agent_of(progress.checkpoint)
    network.load_state_dict({name: torch.from_numpy(progress.checkpoint[name]) for name in network.state_dict()})
    observed = world.observe(world.initial(np.random.default_rng(2)))
    memory = np.tanh(np.random.default_rng(3).standard_normal((world.n, SHORT.memory)))
    with torch.no_grad():
        wanted = network.actor(torch.from_numpy(observed).float()[None], torch.from_numpy(memory).float())
    logits, after = agent.logits(observed, memory)
    assert logits == pytest.approx(wanted[0][0].numpy(), abs=1e-4)
    assert after == pytest.approx(wanted[1].numpy(), abs=1e-5)


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
    del kept["actor.first.weight"]
    with pytest.raises(CheckpointError, match=r"actor\.first\.weight"):
        trained(2, kept)


def test_an_untrained_agent_holds_four_times_in_five_whatever_it_sees() -> None:
    network = ActorCritic((5, 2, 9), 6, (16,), hold=0.8)
    logits, _ = network.actor(torch.randn(3, 7, 5), torch.randn(7, 6))
    odds = torch.softmax(logits, dim=-1)
    assert odds[..., 0].flatten().tolist() == pytest.approx([0.8] * 21)
    assert odds[..., 1:].flatten().tolist() == pytest.approx([0.025] * 168)
