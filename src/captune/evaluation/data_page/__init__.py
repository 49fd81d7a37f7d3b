"""The findings of a data check as a page in the report's design."""

from captune.evaluation.data_page.build import render_data_check

__all__ = ["render_data_check"]
