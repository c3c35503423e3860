"""Five stations, one way: records, split, transforms, pairs, and then the objective's terms."""
