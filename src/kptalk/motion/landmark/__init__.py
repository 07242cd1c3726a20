"""The motion space ``landmark``: the face mesh's 478 points; reader and generator are ``facemesh``'s."""
