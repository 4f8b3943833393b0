"""Roads that the program draws as a camera in a vehicle sees them, with their exact truth."""
