"""Time and accuracy of trackers on the same detections."""
