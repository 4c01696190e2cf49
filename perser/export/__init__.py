"""Trained models as folders for the Hugging Face Hub, each with a model card."""
