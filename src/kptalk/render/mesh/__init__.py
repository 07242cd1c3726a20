"""The renderer of the motion space ``facemesh``: no learned weights, a warp of the photo by the face mesh."""

from kptalk.render.mesh.pose import clamp_pose
from kptalk.render.mesh.renderer import MeshRenderer, PreparedMesh

__all__ = ["MeshRenderer", "PreparedMesh", "clamp_pose"]
