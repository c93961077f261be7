"""Published and measured numbers, computed again with Lockstep's public functions.

One script a subject: ``python -m examples.papers.plateau figures/`` prints its rows and draws its figure.
``python -m examples.papers`` (or ``make papers``) runs them all and writes ``docs/papers-table.md``.
"""
