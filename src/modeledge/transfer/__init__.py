"""Transfer: ways to carry a model over to a task. Nothing yet: fine-tuning stands in run/."""
