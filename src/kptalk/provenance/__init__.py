"""Where a video comes from: content credentials (C2PA) that are signed, and how they and the watermark are checked."""
