"""Texts of any length that differ from each other."""

from __future__ import annotations

import random

WORDS = """
river mountain signal harbour engine winter market letter garden window bridge copper forest
number silver method castle orange planet thunder village machine ocean history
"""


def a_text(seed: int, words: int) -> str:
    """Make a text of so many words, the same for the same seed."""
    chosen = random.Random(seed).choices(WORDS.split(), k=words)
    lines = [" ".join(chosen[i : i + 12]) + "." for i in range(0, words, 12)]
    return "\n\n".join(" ".join(lines[i : i + 6]) for i in range(0, len(lines), 6))


SCRIPTS = "\n\n".join(
    [
        "שלום עולם. זהו טקסט בעברית שנקרא מימין לשמאל.",
        "مرحبا بالعالم. هذا نص باللغة العربية.",
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
        "人人生而自由\uff0c在尊严和权利上一律平等。",
        "Family 👨‍👩‍👧‍👦, flags 🇩🇪🇫🇷, tone 👍🏽 and a keycap 7️⃣.",
        "e\u0301 is not \u00e9, and Z\u0351\u036b\u0343alg\u0321o stays.",
    ]
    * 12
)
