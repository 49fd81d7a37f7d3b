"""The journal of bulk runs: one SQLite file that knows what is written and what was there before.

It is the only state of a run. Every change of a file is committed here as an intent before the
rename and as done after it, so a kill at any moment leaves nothing lost, double or half done.
"""
