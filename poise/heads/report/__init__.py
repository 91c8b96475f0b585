"""Reports: one self-contained HTML page of a study, for readers who know no machine learning.

``render_report(read_study("study"))`` is the page; nothing of the study is computed anew.
"""

from poise.heads.report.page import make_sections, render_report, write_report
from poise.heads.report.reading import AttentionClip, Prediction, Study, read_study
from poise.heads.report.section import Section

__all__ = [
    "AttentionClip",
    "Prediction",
    "Section",
    "Study",
    "make_sections",
    "read_study",
    "render_report",
    "write_report",
]
