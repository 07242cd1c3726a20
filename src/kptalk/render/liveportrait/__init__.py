"""LivePortrait's renderer: appearance of a portrait, warped by 21 keypoints, decoded to 512 x 512 pixels."""
