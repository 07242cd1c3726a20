"""LivePortrait's two heavy networks rewritten for CPUs: the same weights and the same result from fewer operations.

Why: on two cores the faithful networks (``kptalk.networks.warping``, ``spade``) take seconds a frame. What is new:

    convolution  batch normalisation folded into convolutions; 3 x 3 convolutions by Winograd's F(2, 3)
    phases       convolutions of enlarged maps, computed on the small maps
    decoder      FastDecoder for SpadeDecoder
    warping      FastWarping for WarpingNetwork

All of it is exact but for rounding; bfloat16, where the processor has it, is not. ``test_cpu.py`` holds every trick
against torch's own operation, and the networks against the faithful ones.

Nothing but ``kptalk.render.liveportrait.networks``, which chooses the networks for a device, may import this package:
the faithful networks stay the reference, and this one can be dropped without a change elsewhere.
"""
