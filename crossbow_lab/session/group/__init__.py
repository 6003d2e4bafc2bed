"""A session over several devices: what the leader tells the others, and how they follow.

The leader is the session itself, in the notebook; each other device has a process with a trainer of its own, which does
what the leader's does, in the same order. Nobody decides anything twice: evaluations, adjustments, the choice of an
executor and the auto-tuner are the leader's.
"""
