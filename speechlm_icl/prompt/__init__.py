"""Prompts: their wording and token ids, chat templates, and which demonstrations they hold in which order."""
