"""The renderer of the motion space ``facemesh``: no learned weights, a warp of the photo by the face mesh."""

from kptalk.render.mesh.pose import clamp_pose
from kptalk.render.mesh.renderer import MeshRenderer, MeshState

__all__ = ["MeshRenderer", "MeshState", "clamp_pose"]
