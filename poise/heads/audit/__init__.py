"""The audit: whether a good number is real, or made by leaks, people or chance.

>>> from poise.heads.audit import VERDICTS
>>> VERDICTS
('supported', 'leakage', 'confounded', 'no evidence', 'too little data')
"""

from poise.heads.audit.audit import Audit, audit, default_strategy
from poise.heads.audit.duplicates import NearDuplicates, find_near_duplicates
from poise.heads.audit.rungs import Rung
from poise.heads.audit.verdict import VERDICTS, Verdict

__all__ = [
    "VERDICTS",
    "Audit",
    "NearDuplicates",
    "Rung",
    "Verdict",
    "audit",
    "default_strategy",
    "find_near_duplicates",
]
