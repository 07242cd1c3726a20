"""Finding the face in a picture: landmarks, choice among several, the square around it."""
