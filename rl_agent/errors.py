"""What can go wrong with an agent.

AgentError
├── AgentArraysError        arrays that are no agent, or an agent of another observation
└── CheckpointError   a training run cannot go on from this
"""


class AgentError(Exception):
    """Root of what the agent raises."""


class AgentArraysError(AgentError):
    """Arrays that are no agent, or an agent of another observation."""


class CheckpointError(AgentError):
    """A training run cannot go on from this."""
