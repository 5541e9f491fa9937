"""The protocol of points, without a clock, socket, random number or SQL.

**Idea.** Two programs keep one promise, and neither sees the other's disk: a till spends
what it holds, the centre gives away what is free. What each of them DOES with what it hears
is decided here, on plain values; the shells (agent/offline/ledger_db.py on the till's thread,
central/ledger/ and central/intake/ in a database transaction) read the values in, ask, and
write down what was decided, all or nothing.

    moves.py    the postings of every kind of entry: who gives, who takes
    goods.py    what goods that come back do to the points of their sale
    till.py     what a till does with a message of the centre, and what it gives back unasked
    intake.py   is this batch the next piece of the log we know?
    limits.py   what an entry must be to fit any ledger
    books.py    an account at the centre: its lots, who holds how much of each, what it owes
    centre.py   what the centre does: entries that arrive, claims, expiry, merges, lives that end
    placement.py   how many points wait in the home store

The same functions run in the agent, in the office, under Hypothesis with dictionaries for disks
(tests/protocol/) and in the simulator with the real files (tests/sim/).
"""
