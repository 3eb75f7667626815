"""OpenCompass' evaluations on an edge board.

`opencompass_side` is all that knows OpenCompass' classes; `config` finds what is to be evaluated; `export` writes records
and the job; `scoring` translates how answers are judged; `board` runs the job here or there; `collect` makes a run
OpenCompass' predictions; `cli` are the commands. Only `opencompass_side` and `config` import OpenCompass.
"""

__version__ = "0.1.0"


class Failure(Exception):
    """What a user did or has that cannot work, in a sentence, with the way out."""
