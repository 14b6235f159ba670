"""The report of a run: one self-contained page, and curves and JSON.

Importing this loads neither matplotlib nor jinja2; writing a report does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redheart.report.curves import export_curves
    from redheart.report.page import build_report

__all__ = ["build_report", "export_curves"]


def __getattr__(name: str) -> Any:
    if name == "build_report":
        from redheart.report.page import build_report

        return build_report
    if name == "export_curves":
        from redheart.report.curves import export_curves

        return export_curves
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
