"""A language model behind the reasoner: what it is told, what it may answer, what it may cost.

Nothing in here acts, holds a key or knows an address; the client comes in through a port.
"""
