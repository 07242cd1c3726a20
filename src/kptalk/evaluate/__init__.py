"""Videos → numbers that can be believed: the papers' metrics, with real video beside every one."""
