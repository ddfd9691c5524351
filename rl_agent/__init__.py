"""Observation vectors in, actions out. Holds its contract for now; the agent itself comes later."""
