"""Pure torch functions from scores and labels to a Sum: the total in fp32 over the targets, and how many there were."""
