"""Word lists of the PTB tokenizer, found by running the jar on a million words in 13 contexts.

Lists are matched ignoring case unless their comments say otherwise.
"""

from __future__ import annotations

# The full stop stays, and a second one follows if a sentence seems to start after it.
ABBREVIATIONS_ENDING_SENTENCES = (
    "al ala apr ariz assn aug bancorp bhd bldg blvd bros calif co colo conn corp cos ct dak dec "
    "esq est etc ext feb fla fri ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich "
    "minn mo mon mont neb nev nov oct okla penn plc rd rt sep sept seq sq sr sys tel tenn thu "
    "thurs tue tues univ va vt wed wis wisc wyo"
)
# The same, but only if the first letter is a capital.
CAPITALISED_ABBREVIATIONS = "ark az del ill la mass miss ore pa tex wash"
# The full stop always stays.
TITLES = (
    "adj adm adv alex assoc asst atty attys ave brig capt cf cie cmdr col comdr cpl dept det dr "
    "drs elec ens ft gen gov govs hon insp invt jos lieut lt maj messrs mlle mme mr mrs ms msgr "
    "mt natl pfc ph pres prof profs pvt rep reps rev sen sens sfc sgt spc st ste supt supts "
    "treas vs wm"
)
# The full stop stays before a number.
NUMBERED_ABBREVIATIONS = "art ca fig figs no nos op pp prop"
# After initials and acronyms, one of these with a capital ends the sentence.
SENTENCE_STARTERS = (
    "a about according additionally after an as at but earlier he her here however if in it last "
    "many more now once one other our she since so some such that the their then there these they "
    "this we what when while yet you"
)
# A name with one of these extensions is one token, whatever it starts with (`1.jpg`).
FILE_EXTENSIONS = (
    "bat bmp c cgi class cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php "
    "pl png ppt ps py sql tar txt wav x xml zip"
)
