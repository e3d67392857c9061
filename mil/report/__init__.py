"""The report: one page that holds everything a reader needs to judge a run, and works offline."""

from mil.report.page import write_report
from mil.report.slide_pictures import shown_slides

__all__ = ["shown_slides", "write_report"]
