"""The appearance extractor: numbers of the reference."""

import torch


def test_equals_the_reference(reference, volume):
    reference("lp_appearance_feature_extractor").check("feature_3d", volume, 3.5e-5)


@torch.inference_mode()
def test_each_picture_of_a_batch_stands_alone(appearance, picture):
    one, other = picture[..., :64, :64], picture[..., 96:160, 96:160]
    both = appearance(torch.cat([other, one]))
    torch.testing.assert_close(both[1:], appearance(one), atol=1e-4, rtol=1e-4)
