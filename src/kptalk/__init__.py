"""kptalk: one portrait and one speech recording become a talking video."""
