"""Audio LLMs behind an OpenAI-compatible endpoint: vLLM, `transformers serve`, a cloud's."""
