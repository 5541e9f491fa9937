"""The shop's power supply: a busy shift, and something goes dark in the middle of anything, again and again.

Cashiers sell at several counters at once (`cashiers.py`) with the real agent and the real centre. In each
round something is struck at a random moment (`rounds.py`): the agent, or the centre, or both are killed
(SIGKILL), the line between them (`cable.py`) is pulled or loses an answer. What was struck starts again and
is looked at (`look.py`): what was answered must be there, once; what was promised must be kept; nothing may
be half; no slip may come out twice. Whatever a cashier had asked and got no answer to is asked again in the
next round, as the integrator's guide tells a cash program to do, so that repeats are tortured too.

`make torture ROUNDS=… SEED=…` plays as long as one likes, `tests/e2e/test_power_cut.py` plays forty rounds.
A seed makes the same plan of rounds and the same wishes of customers; the microsecond of a cut is the
machine's own. SIGKILL takes what a process had in hand, not what it had given to the kernel: what a disk
loses with its power is not tried here.
"""
