"""Stage 6. In: one ``Audit``. Out: text, JSON, HTML or SARIF for a reader of each kind.

``text.py`` terminal, ``html.py`` and ``picture.py`` one self-contained page, ``sarif.py`` code
scanning; JSON is the certificate itself (``lockstep.certificate.claim``). ``rules/`` explains the
codes, ``selection.py`` chooses findings, ``reasons.py`` answers ``audit.reason(layer, i, j)``.
"""

from __future__ import annotations
