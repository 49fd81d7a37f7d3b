"""The images of a report: which are shown, and how."""
