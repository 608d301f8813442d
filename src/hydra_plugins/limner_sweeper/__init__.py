"""limner's Hydra sweeper: `sweep=NAME`."""
