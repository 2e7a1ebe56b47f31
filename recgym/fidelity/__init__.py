"""The scorecard: sessions of the learned shop beside sessions that it never read.

``python -m recgym.fidelity run=DIR``; what the rows are stands in `recgym.fidelity.rows`, how they
are judged in `recgym.fidelity.verdicts`.
"""
