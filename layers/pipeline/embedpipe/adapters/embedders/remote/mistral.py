"""Mistral.

POST /v1/embeddings: `model`, `input`, `output_dimension` (codestral-embed only); answers as OpenAI.
More than 256 inputs are refused ("Too many inputs in request"), and so are more than some 16,000
tokens together (seen by clients of the API, 2026-07).
"""

from __future__ import annotations

from embedpipe.adapters.embedders.remote.openai import OpenAI


class Mistral(OpenAI):
    """The form of Mistral's API."""

    default_url = "https://api.mistral.ai/v1/embeddings"
    dimensions_field = "output_dimension"
    encoding = None
