"""Where metrics go: `metrics.jsonl` and `speed.jsonl` always, wandb beside them; and the names of everything logged."""
