"""The journal of bulk runs: one SQLite file that records what is written and what was there before.

Every change of a file is committed here as an intent before the rename and as done after it, so
after a kill at any moment nothing is lost, duplicated or half done.
"""
