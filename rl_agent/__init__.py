"""Observations in, actions out: a policy that is learnt in a world and served without one."""
