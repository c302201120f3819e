"""Write the vectors that sentence-transformers gives for fixed texts, to compare ours with.

Run in a virtual environment of its own, as it needs torch:

    pip install torch sentence-transformers
    HF_HUB_OFFLINE=1 python bench/reference/make_reference.py FOLDER_OF_THE_MODEL

It writes `tests/data/minilm_reference.json` and the short list that `embedpipe models prepare`
checks a new graph against.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from sentence_transformers import SentenceTransformer

REPOSITORY = Path(__file__).resolve().parents[2]
REFERENCE = REPOSITORY / "tests" / "data" / "minilm_reference.json"
GOLDEN = REPOSITORY / "layers/pipeline/embedpipe/models/all-MiniLM-L6-v2.golden.json"
DIGITS = 7

SENTENCE = (
    "A queue hands each message to one of many workers, and hides it while it is being done. "
)
GOLDEN_TEXTS = [
    "hello",
    "The quick brown fox jumps over the lazy dog.",
    "PostgreSQL stores vectors beside the rows that they belong to, déjà vu included: 日本語 😀",
    SENTENCE * 8,
]
TEXTS = [
    *GOLDEN_TEXTS,
    "",
    " ",
    ".",
    "a",
    "I",
    "42",
    "The cat sits on the mat.",
    "A feline is resting on a rug.",
    "How do I reset my password?",
    "tabs\tand\nline breaks\r\n   and   many   spaces",
    "Äpfel, Öl und Übermut; naïve façade; Łódź; Ångström; cafe\u0301 (combining accent)",
    "東京は日本の首都です。人口は約千四百万人です。",
    "这是一个用于测试分词器的中文句子，没有空格。",  # noqa: RUF001
    "서울은 대한민국의 수도이다.",
    "النص العربي يُكتب من اليمين إلى اليسار، ويحتوي على علامات تشكيل.",
    "שלום עולם, זהו משפט לבדיקה.",
    "Привет, мир! Это предложение на русском языке.",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ emoji with joiners, flags and skin tones",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)  # noqa",
    "SELECT id, embedding <=> %(query)s AS distance FROM embeddings ORDER BY 2 LIMIT 10;",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org 192.0.2.1 2026-11-21T10:00:00Z",
    "[CLS] special tokens [SEP] written in a text [MASK] [PAD] [UNK]",
    "word " * 60,
    SENTENCE * 13,
    SENTENCE * 40,
    "日本語の文章がとても長く続きます。" * 40,
    "x" * 150 + " a word longer than the tokenizer takes",
    "\u200bzero\u200bwidth\u00a0spaces\ufeff and \u0007 control characters",
]


def main() -> None:
    """Compute the vectors and write both files."""
    model = SentenceTransformer(sys.argv[1], device="cpu")
    model.max_seq_length = 256
    # One at a time: nothing is padded, so nothing depends on neighbours.
    vectors = [model.encode(text, normalize_embeddings=False).tolist() for text in TEXTS]
    rows = [
        {"text": text, "vector": [round(value, DIGITS) for value in vector]}
        for text, vector in zip(TEXTS, vectors, strict=True)
    ]
    made_with = {name: version(name) for name in ("sentence-transformers", "torch", "transformers")}
    write(REFERENCE, {"made_with": made_with, "max_tokens": model.max_seq_length, "rows": rows})
    write(GOLDEN, {"made_with": made_with, "rows": rows[: len(GOLDEN_TEXTS)]})


def write(path: Path, content: dict[str, object]) -> None:
    """Write JSON, one text a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    path.write_text(text.replace('{"text"', '\n{"text"') + "\n", encoding="utf-8")
    print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
