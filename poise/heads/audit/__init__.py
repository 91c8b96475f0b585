"""The audit: is a good number real, or do leaks, people and chance make it?

>>> from poise.heads.audit import VERDICTS
>>> VERDICTS
('supported', 'leakage', 'confounded', 'no evidence', 'too little data')
"""

from poise.heads.audit.audit import Audit, audit, default_strategy
from poise.heads.audit.duplicates import NearDuplicates, find_near_duplicates
from poise.heads.audit.ladder import Rung
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
