"""The report of one run: a single HTML file that says what drifted, where, since when and how much."""

from streamdrift.report.model import Delivery, HeatMap, IncidentReport, RunReport
from streamdrift.report.page import render

__all__ = ["Delivery", "HeatMap", "IncidentReport", "RunReport", "render"]
