"""The top of a report: pictures, a ruler, a sentence, typical mistakes and what to do next."""
