"""`limner doctor`: what this machine has, and what stands in the way; what an issue report pastes."""
