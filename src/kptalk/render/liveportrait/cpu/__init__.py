"""LivePortrait's networks rewritten for CPUs."""
