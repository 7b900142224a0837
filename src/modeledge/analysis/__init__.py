"""Analysis: what models know, judged by scores, probes, retrieval and similarity; nothing here trains one."""
