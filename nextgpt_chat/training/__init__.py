"""The stages that make nextgpt-mini: the frozen parts' pretraining, then the paper's three alignment stages."""
