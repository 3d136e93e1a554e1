"""From a resolved config to a run: the plan, the loop, and what is kept."""
