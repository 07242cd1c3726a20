"""The renderer of the motion space ``facemesh``: no learned weights, a warp of the photo by the face mesh."""
