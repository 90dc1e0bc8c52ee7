"""On the node: stage in, align on node-local scratch, stage out, losing nothing."""
