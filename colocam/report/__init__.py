"""Report: tables, charts, pictures and the HTML page of an evaluation."""

from colocam.report.pictures import Example, contact_sheet

__all__ = ["Example", "contact_sheet"]
