"""Losses against numbers computed by hand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch trains the agent; nothing else needs it")

from rl_agent.losses import advantages, divergence, entropy, normalised, policy_loss, value_loss  # noqa: E402


def test_an_advantage_sums_discounted_errors_of_the_critic() -> None:
    reward = torch.tensor([[1.0], [2.0]])
    value = torch.tensor([[0.5], [1.0], [3.0]])
    found = advantages(reward, value, torch.zeros(2, 1), discount=0.9, decay=0.5)
    last = 2.0 + 0.9 * 3.0 - 1.0
    first = (1.0 + 0.9 * 1.0 - 0.5) + 0.9 * 0.5 * last
    assert found.flatten().tolist() == pytest.approx([first, last])


def test_nothing_counts_beyond_the_end_of_an_episode() -> None:
    ended = torch.tensor([[1.0], [0.0]])
    found = advantages(torch.ones(2, 1), torch.full((3, 1), 10.0), ended, discount=0.9, decay=0.5)
    assert found.flatten().tolist() == pytest.approx([1.0 - 10.0, 1.0 + 9.0 - 10.0])


def test_worlds_do_not_mix() -> None:
    reward = torch.tensor([[1.0, 5.0], [2.0, -3.0]])
    value = torch.tensor([[0.0, 1.0], [1.0, 2.0], [0.0, 4.0]])
    both = advantages(reward, value, torch.zeros(2, 2), 0.9, 0.8)
    alone = advantages(reward[:, 1:], value[:, 1:], torch.zeros(2, 1), 0.9, 0.8)
    assert torch.equal(both[:, 1:], alone)


def test_advantages_are_brought_to_mean_0_and_deviation_1() -> None:
    assert normalised(torch.tensor([1.0, 3.0])).tolist() == pytest.approx([-1.0, 1.0])


def test_a_gain_is_clipped_and_a_loss_is_not() -> None:
    log_ratio = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5]))
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    # min(ρA, clip(ρ)A): 1.2, −1.5, 0.5, −0.8
    assert float(policy_loss(log_ratio, advantage, clip=0.2)) == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4.0)


def test_the_value_loss_is_half_the_mean_square() -> None:
    assert float(value_loss(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]))) == pytest.approx(1.0)


def test_the_entropy_of_even_odds_is_the_logarithm_of_their_number() -> None:
    certain = torch.tensor([[0.0, 100.0]])
    assert float(entropy(torch.zeros(3, 4))) == pytest.approx(math.log(4.0))
    assert float(entropy(certain)) == pytest.approx(0.0, abs=1e-6)


def test_the_divergence_is_0_without_a_move_and_never_negative() -> None:
    assert float(divergence(torch.zeros(5))) == 0.0
    assert float(divergence(torch.tensor([math.log(2.0)]))) == pytest.approx(1.0 - math.log(2.0))
    assert float(divergence(torch.tensor([-0.3, 0.1, 0.7]))) > 0.0
